"""RevertChange: what is answered and refused. What it writes is in tests/store/test_reverts.py."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest
from draftline.v1 import change_pb2, collection_pb2, content_pb2, draft_pb2, types_pb2
from support.change_calls import Changes
from support.draft_calls import Drafts, edit
from support.responses import INVALID, Records, content_of, document, refusal_in

ABORTED = grpc.StatusCode.ABORTED.value[0]


@pytest.fixture
def log(grpc_channel: grpc.Channel, tenant_id: str) -> Changes:
    return Changes(grpc_channel, tenant_id)


@pytest.fixture
def committed(records: Records, ada: Drafts) -> str:
    """The id of a commit that changed 1 and 2, deleted 3 and created 4."""
    for n in (1, 2, 3):
        records.create(str(n), {"n": n, "o": {"a": 1}})
    ada.save(edit("1", {"n": 10}), edit("2", {"n": 20, "x": None}), edit("3", delete=True), edit("4", create={}))
    return ada.send("Commit", ada.committing()).commit_id


def conflicts_of(result: Any) -> list[tuple[str, str, str, str]]:
    return [(each.path, each.base.json, each.mine.json, each.theirs.json) for each in result.conflicts]


def test_commit_is_reverted_as_one_and_answered_by_record(records: Records, log: Changes, committed: str) -> None:
    answer = log.revert(committed, change_reason="a mistake")
    assert [(each.collection, each.record_id, each.status.code) for each in answer.results] == [
        ("films", str(n), 0) for n in (1, 2, 3, 4)
    ]
    assert [list(each.changed_fields) for each in answer.results] == [["n"], ["n", "x"], [], []]
    assert [each.record.version for each in answer.results] == [3, 3, 3, 2]
    assert not any(each.record.HasField("content") for each in answer.results)
    assert [each.record.HasField("delete_time") for each in answer.results] == [False, False, False, True]
    assert [records.content(str(n)) for n in (1, 2, 3)] == [{"n": n, "o": {"a": 1}} for n in (1, 2, 3)]
    for each in answer.results:
        stored = records.get(each.record_id, show_deleted=True)
        stored.ClearField("content")
        assert each.record == stored
    logged = log.list(filter=f'commit_id = "{answer.commit_id}"')
    assert {(each.user_id, each.change_reason) for each in logged} == {("ada", "a mistake")}
    assert len(logged) == 4
    # It was written as one, and can be reverted in turn.
    assert [each.record.version for each in log.revert(answer.commit_id.upper()).results] == [4, 4, 4, 3]
    assert records.content("1")["n"] == 10


def test_content_is_answered_on_request(log: Changes, committed: str) -> None:
    first = log.revert(
        committed, include_content=True, fields=["n"], response_encoding=types_pb2.ENCODING_UNSPECIFIED
    ).results[0]
    assert first.record.content.WhichOneof("encoding") == "struct"
    assert content_of(first.record) == {"n": 1}


def test_preview_tells_exactly_what_is_then_written_and_writes_nothing(
    records: Records, log: Changes, committed: str
) -> None:
    records.patch("1", {"y": 1})
    before = log.list(), [records.get(str(n), show_deleted=True) for n in (1, 2, 3, 4)]
    preview = log.revert(committed, validate_only=True)
    assert (log.list(), [records.get(str(n), show_deleted=True) for n in (1, 2, 3, 4)]) == before
    answer = log.revert(committed, include_content=True)
    for one, other in zip(preview.results, answer.results, strict=True):
        for message in (one, other):
            for time in ("update_time", "delete_time"):
                if message.record.HasField(time):
                    getattr(message.record, time).Clear()
        assert one == other


def test_nothing_to_take_back_has_no_commit(records: Records, log: Changes, committed: str) -> None:
    log.revert(committed)
    again = log.revert(committed)
    assert (again.commit_id, [each.record.version for each in again.results]) == ("", [3, 3, 3, 2])


def test_conflicts_are_told_in_the_error(records: Records, log: Changes, committed: str) -> None:
    records.patch("1", {"n": 11})
    records.patch("2", {"n": 21, "x": [1]})
    metadata, conflicts = log.conflicts(committed)
    assert metadata == {"conflicts_count": "3"}
    assert [(each.collection, each.record_id, each.kind, each.path) for each in conflicts] == [
        ("films", "1", draft_pb2.CONFLICT_KIND_VALUE, "/n"),
        ("films", "2", draft_pb2.CONFLICT_KIND_VALUE, "/n"),
        ("films", "2", draft_pb2.CONFLICT_KIND_VALUE, "/x"),
    ]
    n, _, x = conflicts
    assert (n.base.json, n.mine.json, n.theirs.json) == ("10", "1", "11")
    assert (x.base.json, x.HasField("mine"), x.theirs.json) == ("null", False, "[1]")
    assert records.content("1")["n"] == 11


POLICIES = [(draft_pb2.CONFLICT_POLICY_KEEP_MINE, 1), (draft_pb2.CONFLICT_POLICY_KEEP_THEIRS, 11)]


@pytest.mark.parametrize(("policy", "n"), POLICIES)
def test_policy_settles_conflicts_and_tells_them(
    records: Records, log: Changes, committed: str, policy: int, n: int
) -> None:
    records.patch("1", {"n": 11})
    answer = log.revert(committed, conflict_policy=policy)
    assert [conflicts_of(each) for each in answer.results] == [[("/n", "10", "1", "11")], [], [], []]
    assert (records.content("1")["n"], records.content("2")) == (n, {"n": 2, "o": {"a": 1}})


def test_each_record_stands_on_its_own_if_that_is_allowed(records: Records, log: Changes, committed: str) -> None:
    records.patch("1", {"n": 11})
    stuck, *fine = log.revert(committed, allow_partial=True).results
    assert (stuck.status.code, stuck.HasField("record"), conflicts_of(stuck)) == (
        ABORTED, False, [("/n", "10", "1", "11")]
    )  # fmt: skip
    assert "record '1' was changed since version 2" in stuck.status.message
    assert [each.status.code for each in fine] == [0, 0, 0]
    assert records.content("2")["n"] == 2


@pytest.mark.parametrize("target", [("1", 9), ("9", 1), str(uuid.UUID(int=1))])
def test_what_is_not_in_the_log_is_not_found(log: Changes, committed: str, target: Any) -> None:
    for options in ({}, {"validate_only": True}, {"allow_partial": True}):
        refusal = log.refused("RevertChange", log.reverting(target, **options))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "CHANGE_NOT_FOUND")


def test_another_tenants_changes_are_not_found(log: Changes, committed: str) -> None:
    elsewhere = Changes(log.channel, f"{log.tenant_id}-other")
    for target in (committed, ("1", 2)):
        assert elsewhere.refused("RevertChange", elsewhere.reverting(target)).reason == "CHANGE_NOT_FOUND"


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({}, "target"),
        ({"commit_id": "abc"}, "commit_id"),
        ({"change": change_pb2.ChangeRef(collection="films", record_id="1")}, "change.version"),
        ({"change": change_pb2.ChangeRef(collection="films", version=1)}, "change.record_id"),
        ({"change": change_pb2.ChangeRef(record_id="1", version=1)}, "change.collection"),
        ({"commit_id": str(uuid.uuid4()), "conflict_policy": 9}, "conflict_policy"),
        ({"commit_id": str(uuid.uuid4()), "change_reason": "a\0"}, "change_reason"),
        ({"commit_id": str(uuid.uuid4()), "fields": ["a"] * 101}, "fields"),
    ],
)
def test_request_that_breaks_the_contract_is_refused(log: Changes, parts: Any, field: str) -> None:
    request = change_pb2.RevertChangeRequest(tenant_id=log.tenant_id, **parts)
    refusal = log.refused("RevertChange", request)
    assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, "INVALID_FIELD", [field])


def test_content_that_may_not_be_stored_is_refused_with_its_record(
    records: Records, log: Changes, collection_stub: Any
) -> None:
    records.create("1", {"n": 5})
    records.patch("1", {"n": 1})
    schema = '{"properties": {"n": {"maximum": 4}}}'
    put = collection_pb2.PutCollectionRequest(tenant_id=log.tenant_id, collection="films", json_schema=schema)
    collection_stub.PutCollection(put)
    refusal = log.refused("RevertChange", log.reverting(("1", 2)))
    assert (refusal.code, refusal.reason, refusal.metadata) == (INVALID, "SCHEMA_VIOLATION", {"path": "/n"})
    assert list(refusal.fields) == ["record '1'"]
    (stuck,) = log.revert(("1", 2), allow_partial=True).results
    assert refusal_in(stuck.status).reason == "SCHEMA_VIOLATION"
    assert records.content("1") == {"n": 1}


def test_answer_that_could_not_be_delivered_writes_nothing(records: Records, log: Changes) -> None:
    requests = [records.patching(str(n), {"t": "x" * 900_000}, allow_missing=True) for n in range(5)]
    batch = content_pb2.BatchPatchContentRequest(tenant_id=log.tenant_id, requests=requests)
    for request in batch.requests:
        request.fields.append("none")
    records.stub.BatchPatchContent(batch)
    for request in batch.requests:
        request.delta.CopyFrom(document({"t": ""}))
    emptied = records.stub.BatchPatchContent(batch).commit_id
    refusal = log.refused("RevertChange", log.reverting(emptied, include_content=True))
    assert refusal.reason == "ANSWER_TOO_LARGE"
    assert records.content("0") == {"t": ""}
    assert len(log.revert(emptied).results) == 5


def test_drafts_of_others_show_what_was_reverted(records: Records, log: Changes, committed: str, bob: Drafts) -> None:
    bob.change("1", {"o": {"b": 1}}, strategy=types_pb2.MERGE_STRATEGY_DEEP)
    log.revert(committed)
    assert bob.contents(record_ids=["1"]) == {"1": {"n": 1, "o": {"a": 1, "b": 1}}}
