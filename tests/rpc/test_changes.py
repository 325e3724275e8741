"""ListChanges: what a caller is told of the log, and how a list is asked for."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest
from draftline.v1 import change_pb2, collection_pb2, content_pb2, types_pb2
from support.change_calls import ABSENT, Changes, attributes_of, paths_of
from support.draft_calls import Drafts, edit
from support.responses import INVALID, Records
from support.watch_stream import watching

KIND, SOURCE = change_pb2.ChangeKind.Name, change_pb2.ChangeSource.Name


@pytest.fixture
def log(grpc_channel: grpc.Channel, tenant_id: str) -> Changes:
    return Changes(grpc_channel, tenant_id)


def test_every_write_is_told_with_its_kind_and_source(records: Records, ada: Drafts, log: Changes) -> None:
    records.create("1", {"a": 1, "b": {"c": 1}}, parent_id="p", position=2**63 - 1)
    records.patch("1", {"a": 2, "b": {"c": 1, "d": None}}, position=3)
    batch = content_pb2.BatchPatchContentRequest(tenant_id=log.tenant_id, requests=[records.patching("1", {"a": 3})])
    batched = records.stub.BatchPatchContent(batch)
    records.delete("1")
    records.undelete("1")
    ada.change("1", {"a": None}, session_id="s")
    committed = ada.send("Commit", ada.committing())
    reverted = log.revert(("1", 6))
    told = log.of("1")
    assert [(KIND(each.kind)[12:], SOURCE(each.source)[14:], each.version) for each in told] == [
        ("CREATE", "CREATE_CONTENT", 1),
        ("UPDATE", "PATCH_CONTENT", 2),
        ("UPDATE", "BATCH_PATCH_CONTENT", 3),
        ("DELETE", "DELETE_CONTENT", 4),
        ("UNDELETE", "UNDELETE_CONTENT", 5),
        ("UPDATE", "COMMIT", 6),
        ("UPDATE", "REVERT_CHANGE", 7),
    ]
    assert [paths_of(each) for each in told] == [
        [("", ABSENT, {"a": 1, "b": {"c": 1}})],
        [("/a", 1, 2), ("/b/d", ABSENT, None)],
        [("/a", 2, 3)],
        [],
        [],
        [("/a", 3, None)],
        [("/a", None, 3)],
    ]
    assert [attributes_of(each) for each in told[:2]] == [
        [("parent_id", ABSENT, "p"), ("position", ABSENT, 2**63 - 1)],
        [("position", 2**63 - 1, 3)],
    ]
    assert not any(each.attributes or each.values_omitted for each in told[2:])
    assert [(each.user_id, each.session_id) for each in told[4:]] == [("dev", ""), ("ada", "s"), ("ada", "")]
    assert [each.commit_id for each in told] == [
        "", "", batched.commit_id, "", "", committed.commit_id, reverted.commit_id
    ]  # fmt: skip
    assert {(each.tenant_id, each.collection, each.record_id) for each in told} == {(log.tenant_id, "films", "1")}
    assert told[-1].create_time == records.get("1").update_time


def test_reason_and_request_id_are_told(records: Records, log: Changes) -> None:
    request_id = str(uuid.uuid4())
    records.create("1", {}, change_reason="because", request_id=request_id.upper())
    (told,) = log.of("1")
    assert (told.change_reason, told.request_id) == ("because", request_id)
    assert log.list(filter=f'request_id = "{request_id.upper()}" AND change_reason = "bec*"') == [told]


def test_newest_come_first_unless_told_otherwise(records: Records, log: Changes) -> None:
    for n in range(3):
        records.create(str(n), {})
    ids = [each.record_id for each in log.list()]
    assert ids == ["2", "1", "0"]
    assert [each.record_id for each in log.list(order_by="create_time desc")] == ids
    assert [each.record_id for each in log.list(order_by=" create_time  asc ")] == ids[::-1]


@pytest.mark.parametrize("order_by", ["", "create_time"])
def test_pages_follow_their_tokens(records: Records, log: Changes, order_by: str) -> None:
    for n in range(7):
        records.create(str(n), {})
    everything = log.list(order_by=order_by)
    seen, token = [], ""
    for page_size in (3, 1, 2, 5):  # the size of a page and what it shows may change
        page = log.page(
            order_by=order_by, page_size=page_size, page_token=token, omit_values=page_size == 1,
            response_encoding=types_pb2.ENCODING_UNSPECIFIED,
        )  # fmt: skip
        assert len(page.changes) <= page_size
        seen += [each.record_id for each in page.changes]
        token = page.next_page_token
    assert (seen, token) == ([each.record_id for each in everything], "")


def test_token_is_good_for_its_own_query_alone(records: Records, log: Changes, ada: Drafts) -> None:
    for n in range(3):
        records.create(str(n), {})
    query = {"collection": "films", "filter": "version = 1", "order_by": "create_time", "page_size": 1}
    token = log.page(**query).next_page_token
    assert token
    drafts = ada.page(page_size=1).next_page_token
    tampered = token[:-1] + ("A" if token[-1] != "A" else "B")
    others = [{"collection": ""}, {"filter": "version < 2"}, {"order_by": ""}, {"record_id": "1"}]
    bad = [{**query, **other, "page_token": token} for other in others]
    bad += [{**query, "page_token": other} for other in (tampered, drafts, "?", token + "=")]
    for request in bad:
        refusal = log.refused("ListChanges", log.listing(**request))
        assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, "INVALID_FIELD", ["page_token"])
    elsewhere = Changes(log.channel, f"{log.tenant_id}-other")
    refusal = elsewhere.refused("ListChanges", elsewhere.listing(**query, page_token=token))
    assert list(refusal.fields) == ["page_token"]


def test_another_tenants_changes_are_not_shown(records: Records, log: Changes) -> None:
    records.create("1", {})
    elsewhere = Changes(log.channel, f"{log.tenant_id}-other")
    assert elsewhere.list() == elsewhere.of("1") == elsewhere.list(filter="user_id = dev") == []
    assert len(log.list()) == 1


def test_drafts_are_not_shown(records: Records, ada: Drafts, log: Changes) -> None:
    records.create("1", {})
    ada.save(edit("1", {"a": 1}), edit("2", create={}), session_id="s")
    ada.discard()
    assert [each.record_id for each in log.list()] == ["1"]
    assert log.list(filter="user_id = ada") == log.list(filter="session_id = s") == []


NAMES = "collection, record_id, version, kind, source, user_id, session_id, commit_id, change_reason, request_id"
BAD_FILTERS = {
    "title = a": ("0", f"a change has no attribute 'title'; it has {NAMES}, create_time"),
    "version = 1 AND record.user_id = ada": ("16", "a change has no attribute 'record.user_id'"),
    "user_id.name = a": ("0", "a change has no attribute 'user_id.name'"),
    "kind = DRAFT": ("7", "kind is one of CREATE, UPDATE, DELETE, UNDELETE"),
    'kind = "CRE*"': ("7", "kind is one of CREATE, UPDATE, DELETE, UNDELETE"),
    "kind > CREATE": ("7", "kind can only be compared with = and !="),
    "source = COMMITS": ("9", "source is one of CREATE_CONTENT, PATCH_CONTENT, BATCH_PATCH_CONTENT, "),
    "commit_id = abc": ("12", "commit_id is a UUID, such as "),
    'request_id != "{0197c5a2-64b1-7c3e-8d0f-1a2b3c4d5e6f}"': ("14", "request_id is a UUID, such as "),
    "request_id < 0197c5a2-64b1-7c3e-8d0f-1a2b3c4d5e6f": ("13", "request_id can only be compared with = and !="),
    "version = one": ("10", "the field is a NUMBER: expected a number"),
    "create_time > yesterday": ("14", "the field is a TIMESTAMP: expected "),
    'version = "1*"': ("10", "a star matches texts"),
    "session_id > null": ("13", "null can only be compared with = and !="),
    "user_id =": ("9", "expected "),
    f"user_id = {'a' * 4090}": (None, ""),
    " ".join(["version = 1"] * 101): ("1200", "at most 100 comparisons"),
    f"{'(' * 33}version = 1{')' * 33}": ("32", "parentheses are nested more than 32 deep"),
}


@pytest.mark.parametrize("text", list(BAD_FILTERS))
def test_filter_that_means_nothing_is_refused_with_its_place(log: Changes, text: str) -> None:
    position, problem = BAD_FILTERS[text]
    refusal = log.refused("ListChanges", log.listing(filter=text))
    assert (refusal.code, list(refusal.fields)) == (INVALID, ["filter"])
    if position is not None:
        assert (refusal.reason, refusal.metadata) == ("INVALID_FILTER", {"position": position})
        assert f"at character {position}: {problem}" in refusal.message


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"record_id": "1"}, "collection"),
        ({"order_by": "version"}, "order_by"),
        ({"order_by": "create_time, version"}, "order_by"),
        ({"order_by": "record.create_time"}, "order_by"),
        ({"order_by": "create_time down"}, "order_by"),
        ({"page_size": -1}, "page_size"),
        ({"collection": "a\n"}, "collection"),
        ({"response_encoding": 9}, "response_encoding"),
    ],
)
def test_query_of_parts_that_do_not_go_together_is_refused(log: Changes, query: Any, field: str) -> None:
    refusal = log.refused("ListChanges", log.listing(**query))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, "INVALID_FIELD", [field])


def test_page_sizes_are_those_of_the_contract(records: Records, log: Changes) -> None:
    requests = [records.patching(str(n), {}, allow_missing=True) for n in range(1000)]
    for _ in range(2):
        records.stub.BatchPatchContent(content_pb2.BatchPatchContentRequest(tenant_id=log.tenant_id, requests=requests))
        requests = [records.patching(str(n), {"a": 1}) for n in range(1000)]
    assert [len(log.list(page_size=size)) for size in (0, 1, 1001, 10**9)] == [100, 1, 1000, 1000]


def test_values_come_in_the_form_that_is_asked_for_and_exact(records: Records, log: Changes) -> None:
    records.create("1", '{"small": 1, "large": 1}')
    records.patch("1", '{"small": 0.10, "large": 12345678901234567890123, "list": [1, {"a": null}]}')
    (told,) = log.of("1", response_encoding=types_pb2.ENCODING_UNSPECIFIED)[1:]
    forms = {path.path: path.new_value.WhichOneof("encoding") for path in told.paths}
    assert forms == {"/large": "json", "/list": "value", "/small": "value"}
    assert paths_of(told) == [
        ("/large", 1.0, 12345678901234567890123),
        ("/list", ABSENT, [1.0, {"a": None}]),
        ("/small", 1.0, 0.1),
    ]
    (told,) = log.of("1")[1:]
    assert [path.new_value.json for path in told.paths] == ["12345678901234567890123", '[1, {"a": null}]', "0.10"]


def test_values_are_left_out_if_asked(records: Records, log: Changes) -> None:
    records.create("1", {"a": 1})
    records.patch("1", {"a": 2}, parent_id="p")
    records.delete("1")
    created, patched, deleted = log.of("1", omit_values=True)
    assert [paths_of(each) for each in (created, patched, deleted)] == [
        [("", ABSENT, ABSENT)], [("/a", ABSENT, ABSENT)], []
    ]  # fmt: skip
    assert [each.values_omitted for each in (created, patched, deleted)] == [True, True, False]
    assert attributes_of(patched) == [("parent_id", ABSENT, "p")]


def test_values_of_a_collection_that_keeps_paths_alone_are_not_told(
    records: Records, log: Changes, collection_stub: Any
) -> None:
    put = collection_pb2.PutCollectionRequest(
        tenant_id=log.tenant_id, collection="films", history=collection_pb2.CHANGE_HISTORY_PATHS
    )
    collection_stub.PutCollection(put)
    records.create("1", {"a": 1})
    records.patch("1", {"a": {"b": 1}})
    created, patched = log.of("1")
    assert (paths_of(created), created.values_omitted) == ([("", ABSENT, ABSENT)], True)
    assert (paths_of(patched), patched.values_omitted) == ([("/a", ABSENT, ABSENT)], True)
    refusal = log.refused("RevertChange", log.reverting(("1", 2)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "HISTORY_NOT_KEPT")


def test_page_of_large_values_can_be_delivered(records: Records, log: Changes) -> None:
    """Values as Struct may be six times their JSON; each answer stays within 4 MiB, the gRPC client's own limit."""
    many = {f"k{n}": [0] * 90 for n in range(100)}  # 30 KB, and five times that as Struct
    large = "x" * 900_000
    for n in range(30):
        records.create(f"many-{n}", many)
    for n in range(6):
        records.create(f"large-{n}", {"t": large})
    records.patch("large-0", {"t": large[1:]})
    for encoding in (types_pb2.ENCODING_JSON, types_pb2.ENCODING_UNSPECIFIED):
        seen, token, pages = [], "", 0
        while token or not pages:
            page = log.page(page_size=1000, page_token=token, response_encoding=encoding)
            assert page.ByteSize() <= 4 * 1024 * 1024
            seen += [(each.record_id, each.version) for each in page.changes]
            token, pages = page.next_page_token, pages + 1
        assert len(seen) == len(set(seen)) == 37
        assert pages > 1


def test_long_paths_can_be_delivered(records: Records, log: Changes) -> None:
    """A long key makes every path below it long: four edits of 20 KB have paths of 6 MiB."""
    key = "k" * 16_000
    commit_id = token = ""
    for n in (0, 1):
        with watching(log.channel, log.tenant_id) as watcher:
            token = watcher.token
        content = {key: dict.fromkeys((str(place) for place in range(100)), n)}
        requests = [records.patching(str(place), content, allow_missing=True) for place in range(4)]
        batch = content_pb2.BatchPatchContentRequest(tenant_id=log.tenant_id, requests=requests)
        commit_id = records.stub.BatchPatchContent(batch).commit_id
    query = {"filter": f'commit_id = "{commit_id}"', "order_by": "create_time"}
    first = log.page(**query)
    rest = log.page(**query, page_token=first.next_page_token)
    assert [len(page.changes) for page in (first, rest)] == [2, 2]
    with watching(log.channel, log.tenant_id, resume_token=token) as watcher:
        assert watcher.changes(4) == [*first.changes, *rest.changes]


def test_list_of_nothing_is_empty(log: Changes) -> None:
    assert log.page() == change_pb2.ListChangesResponse()
    assert log.of("1") == []
