"""Commit and Discard: what is written, previewed, left and dropped."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2, draft_pb2, types_pb2
from support.draft_calls import Drafts, edit
from support.responses import TIMEOUT_S, Records, content_of, document, refusal_in

ABORTED = grpc.StatusCode.ABORTED.value[0]


@pytest.fixture
def films(records: Records) -> Records:
    for n in range(1, 5):
        records.create(f"m-{n}", {"n": n, "o": {"a": 1, "b": 1}}, parent_id="p", position=n)
    return records


def test_commit_writes_a_change_a_creation_and_a_deletion(films: Records, ada: Drafts) -> None:
    ada.save(
        edit("m-1", {"n": 10, "x": 1}), edit("m-2", delete=True), edit("a", create={"new": 1}), edit("m-3", {"n": 3})
    )
    results = ada.commit()
    assert [each.record_id for each in results] == ["a", "m-1", "m-2", "m-3"]
    assert [each.status.code for each in results] == [0] * 4
    assert [each.record.version for each in results] == [1, 2, 2, 1]
    assert [list(each.changed_fields) for each in results] == [["new"], ["n", "x"], [], []]
    assert not any(each.record.HasField("content") for each in results)
    written = films.get("m-1")
    assert content_of(written) == {"n": 10, "x": 1, "o": {"a": 1, "b": 1}}
    assert (written.updated_by, written.created_by, written.parent_id, written.position) == ("ada", "dev", "p", 1)
    created = films.get("a")
    assert (created.created_by, created.create_time) == ("ada", created.update_time)
    deleted = films.get("m-2", show_deleted=True)
    assert (deleted.HasField("delete_time"), content_of(deleted)["n"]) == (True, 2)
    assert ada.drafted() == []
    assert ada.commit() == []


def test_commit_answers_the_content_on_request(films: Records, ada: Drafts) -> None:
    ada.change("m-1", {"x": 1})
    (result,) = ada.commit(include_content=True, fields=["x", "n"], response_encoding=types_pb2.ENCODING_UNSPECIFIED)
    assert result.record.content.WhichOneof("encoding") == "struct"
    assert content_of(result.record) == {"x": 1, "n": 1}


def test_preview_tells_exactly_what_is_then_written_and_writes_nothing(films: Records, ada: Drafts) -> None:
    ada.save(edit("m-1", {"x": 1}), edit("m-2", delete=True), edit("a", create={"new": 1}))
    films.patch("m-1", {"y": 1})
    before = ada.page(show_deleted=True), [films.get(f"m-{n}") for n in (1, 2)]
    previews = ada.commit(validate_only=True)
    assert (ada.page(show_deleted=True), [films.get(f"m-{n}") for n in (1, 2)]) == before
    assert films.is_missing("a")
    results = ada.commit(include_content=True)
    for preview, result in zip(previews, results, strict=True):
        for message in (preview, result):
            for time in ("update_time", "create_time", "delete_time"):
                if message.record.HasField(time):
                    getattr(message.record, time).Clear()
        assert preview == result


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        ({"session_id": "s"}, ["m-1", "m-3"]),
        ({"record_ids": ["m-3", "m-1"]}, ["m-2"]),
        ({"record_ids": {"m-2": 2, "m-3": None}}, ["m-1"]),
        ({}, []),
        ({"session_id": "none"}, ["m-1", "m-2", "m-3"]),
    ],
)
@pytest.mark.parametrize("rpc", ["commit", "discard"])
def test_selection_takes_its_drafts_and_leaves_the_others(
    films: Records, ada: Drafts, rpc: str, selection: Any, left: list[str]
) -> None:
    ada.save(*(edit(f"m-{n}", {"x": 1}) for n in (1, 2, 3)), session_id="t")
    ada.change("m-2", {"y": 1}, session_id="s", move_to_session=True)
    assert getattr(ada, rpc)(**dict(selection), validate_only=True) is not None
    assert ada.drafted() == ["m-1", "m-2", "m-3"]
    getattr(ada, rpc)(**dict(selection))
    assert ada.drafted() == left
    written = [f"m-{n}" for n in (1, 2, 3) if "x" in films.content(f"m-{n}")]
    assert written == ([] if rpc == "discard" else [each for each in ("m-1", "m-2", "m-3") if each not in left])


def test_edits_of_other_paths_merge_silently(films: Records, ada: Drafts) -> None:
    ada.change("m-1", {"o": {"a": 2}}, strategy=types_pb2.MERGE_STRATEGY_DEEP)
    films.patch("m-1", {"o": {"b": 2}, "n": 5}, strategy=types_pb2.MERGE_STRATEGY_DEEP)
    assert list(ada.one("m-1").conflicts) == []
    (result,) = ada.commit()
    assert (list(result.changed_fields), list(result.conflicts)) == (["o"], [])
    assert films.content("m-1") == {"n": 5, "o": {"a": 2, "b": 2}}


def test_path_on_which_upstream_agrees_is_no_conflict(films: Records, ada: Drafts) -> None:
    ada.change("m-1", {"n": 7})
    films.patch("m-1", {"n": 7})
    (result,) = ada.commit()
    assert (result.record.version, list(result.changed_fields), list(result.conflicts)) == (2, [], [])


def test_conflict_tells_base_mine_and_theirs_in_error_list_and_preview(films: Records, ada: Drafts) -> None:
    ada.save(edit("m-1", {"n": 10, "x": None, "q": 1}), edit("m-2", {"n": 20}))
    films.patch("m-1", {"n": 11, "x": [1]})
    metadata, conflicts = ada.conflicts()
    assert metadata == {"conflicts_count": "2"}
    assert [(each.record_id, each.kind, each.path) for each in conflicts] == [
        ("m-1", draft_pb2.CONFLICT_KIND_VALUE, "/n"),
        ("m-1", draft_pb2.CONFLICT_KIND_VALUE, "/x"),
    ]
    n, x = conflicts
    assert (n.base.json, n.mine.json, n.theirs.json) == ("1", "10", "11")
    assert (x.HasField("base"), x.mine.json, x.theirs.json) == (False, "null", "[1]")
    assert ada.drafted() == ["m-1", "m-2"]
    assert films.content("m-2")["n"] == 2
    stuck, fine = ada.commit(validate_only=True, allow_partial=True)
    assert conflicts_of(stuck) == [("/n", "1", "10", "11"), ("/x", "", "null", "[1]")]
    assert (stuck.status.code, stuck.HasField("record"), fine.status.code) == (
        grpc.StatusCode.ABORTED.value[0],
        False,
        0,
    )
    assert list(ada.one("m-1").conflicts) == list(stuck.conflicts)
    refusal_metadata, inner = ada.conflicts(validate_only=True)
    assert (refusal_metadata, inner) == (metadata, conflicts)


def conflicts_of(result: Any) -> list[tuple[str, str, str, str]]:
    return [(each.path, each.base.json, each.mine.json, each.theirs.json) for each in result.conflicts]


@pytest.mark.parametrize(
    ("policy", "n"), [(draft_pb2.CONFLICT_POLICY_KEEP_MINE, 10), (draft_pb2.CONFLICT_POLICY_KEEP_THEIRS, 11)]
)
def test_policy_settles_conflicts_and_tells_them(films: Records, ada: Drafts, policy: int, n: int) -> None:
    ada.change("m-1", {"n": 10, "x": 1})
    films.patch("m-1", {"n": 11, "y": 1})
    (preview,) = ada.commit(conflict_policy=policy, validate_only=True)
    (result,) = ada.commit(conflict_policy=policy, include_content=True)
    assert content_of(preview.record) == content_of(result.record) == films.content("m-1")
    assert films.content("m-1") == {"n": n, "x": 1, "y": 1, "o": {"a": 1, "b": 1}}
    assert conflicts_of(result) == conflicts_of(preview) == [("/n", "1", "10", "11")]
    assert ada.drafted() == []


KINDS = [
    ("DELETED", {"delta": document('{"n": 9}')}, "delete", {"n": 9, "o": {"a": 1, "b": 1}}, None),
    ("CHANGED", {"delete": draft_pb2.DeleteMark()}, "patch", None, {"n": 5, "o": {"a": 1, "b": 1}}),
    ("CREATED", {"create": document('{"mine": 1}')}, "create", {"mine": 1}, {"theirs": 1}),
]


@pytest.mark.parametrize(("kind", "action", "upstream", "mine", "theirs"), KINDS, ids=[each[0] for each in KINDS])
@pytest.mark.parametrize("policy", ["REJECT", "KEEP_MINE", "KEEP_THEIRS", "DISCARD"])
def test_conflict_of_its_own_kind_has_every_way_out(
    films: Records, ada: Drafts, kind: str, action: Any, upstream: str, mine: Any, theirs: Any, policy: str
) -> None:
    record_id = "new" if kind == "CREATED" else "m-1"
    ada.save(draft_pb2.DraftEdit(record_id=record_id, **action))
    if upstream == "delete":
        films.delete("m-1")
    elif upstream == "patch":
        films.patch("m-1", {"n": 5})
    else:
        films.create("new", {"theirs": 1})
    (listed,) = ada.page(view=draft_pb2.VIEW_DRAFTS_ONLY).records
    assert [each.kind for each in listed.conflicts] == [getattr(draft_pb2, f"CONFLICT_KIND_{kind}")]
    if policy == "REJECT":
        _, (conflict,) = ada.conflicts()
        assert (conflict.record_id, conflict.kind) == (record_id, listed.conflicts[0].kind)
        assert ada.drafted() == [record_id]
        return
    if policy == "DISCARD":
        assert len(ada.discard()) == 1
    else:
        (result,) = ada.commit(conflict_policy=getattr(draft_pb2, f"CONFLICT_POLICY_{policy}"))
        assert (result.status.code, len(result.conflicts)) == (0, 1)
    expected = mine if policy == "KEEP_MINE" else theirs
    record = films.get(record_id, show_deleted=True)
    assert (None if record.HasField("delete_time") else content_of(record)) == expected
    assert ada.drafted() == []


def test_allow_partial_writes_the_rest_and_leaves_what_is_in_conflict(films: Records, ada: Drafts) -> None:
    ada.save(*(edit(f"m-{n}", {"n": 10}) for n in (1, 2, 3)))
    films.patch("m-2", {"n": 11})
    results = ada.commit(allow_partial=True)
    assert [bool(each.status.code) for each in results] == [False, True, False]
    assert [len(each.conflicts) for each in results] == [0, 1, 0]
    assert ada.drafted() == ["m-2"]
    assert [films.content(f"m-{n}")["n"] for n in (1, 2, 3)] == [10, 11, 10]
    (again,) = ada.commit(conflict_policy=draft_pb2.CONFLICT_POLICY_KEEP_MINE)
    assert again.record.version == 3


def test_many_long_conflicts_are_answered_in_small_and_previewed_whole(films: Records, ada: Drafts) -> None:
    long = {f"key-{n:03}": "ä" * 500 for n in range(150)}
    ada.change("m-1", long)
    films.patch("m-1", {key: ["x" * 500] for key in long})
    metadata, conflicts = ada.conflicts()
    assert metadata == {"conflicts_count": "150"}
    assert conflicts
    assert all(each.mine.json.endswith("…") and len(each.mine.json) < 250 for each in conflicts)
    assert len(ada.one("m-1").conflicts) == 100
    (preview,) = ada.commit(validate_only=True, allow_partial=True)
    assert len(preview.conflicts) == 150
    assert {each.mine.json for each in preview.conflicts} == {'"' + "ä" * 500 + '"'}


def test_conflicts_come_in_the_form_that_was_asked_for(films: Records, ada: Drafts) -> None:
    big = "12345678901234567890123.5"
    ada.change("m-1", f'{{"n": {big}, "x": {{"a": [1]}}}}')
    films.patch("m-1", {"n": 2, "x": None})
    (result,) = ada.commit(validate_only=True, allow_partial=True, response_encoding=types_pb2.ENCODING_STRUCT)
    n, x = result.conflicts
    assert (n.mine.json, n.theirs.value.number_value, n.theirs.WhichOneof("encoding")) == (big, 2, "value")
    assert x.mine.value.struct_value["a"][0] == 1
    assert x.theirs.value.WhichOneof("kind") == "null_value"


def test_commit_checks_the_schema_of_the_day(films: Records, ada: Drafts, collection_stub: Any) -> None:
    ada.save(edit("m-1", {"n": "text"}), edit("m-2", {"x": 1}))
    declaration = collection_pb2.PutCollectionRequest(
        **ada.where, json_schema='{"properties": {"n": {"type": "number"}}}'
    )
    collection_stub.PutCollection(declaration, timeout=TIMEOUT_S)
    refusal = ada.refused("Commit", ada.committing())
    assert (refusal.code.name, refusal.reason, refusal.metadata["path"]) == (
        "INVALID_ARGUMENT",
        "SCHEMA_VIOLATION",
        "/n",
    )
    refused_one, written = ada.commit(allow_partial=True)
    assert refusal_in(refused_one.status).reason == "SCHEMA_VIOLATION"
    assert written.record.version == 2
    assert ada.drafted() == ["m-1"]


def test_drafts_of_others_follow_a_commit_and_keep_their_base(films: Records, ada: Drafts, bob: Drafts) -> None:
    bob.save(edit("m-1", {"x": "bob"}), edit("m-2", {"n": "bob"}), edit("m-3", {"n": "bob"}))
    ada.save(edit("m-1", {"n": "ada"}), edit("m-2", {"n": "ada"}), edit("m-3", delete=True))
    ada.commit()
    seen = bob.contents(view=draft_pb2.VIEW_DRAFTS_ONLY)
    assert seen["m-1"] == {"n": "ada", "x": "bob", "o": {"a": 1, "b": 1}}
    assert seen["m-2"]["n"] == "bob"
    _, conflicts = bob.conflicts()
    assert [(each.record_id, each.base.json, each.theirs.json) for each in conflicts if each.path] == [
        ("m-2", "2", '"ada"')
    ]
    assert draft_pb2.CONFLICT_KIND_DELETED in [each.kind for each in conflicts]


def test_discard_answers_what_was_dropped(films: Records, ada: Drafts) -> None:
    ada.save(
        edit("m-1", {"x": 1}), edit("m-2", delete=True), edit("a", create={"y": 1}), session_id="s", change_reason="r"
    )
    shown = {each.record.record_id: each for each in ada.page(show_deleted=True, filter="record.state = DRAFT").records}
    previews = ada.discard(validate_only=True, include_content=True)
    dropped = ada.discard(include_content=True)
    assert previews == dropped == [shown[each] for each in ("a", "m-1", "m-2")]
    assert ada.discard() == []
    assert [films.content(f"m-{n}")["n"] for n in (1, 2)] == [1, 2]
    ada.change("m-1", {"x": 1})
    (bare,) = ada.discard()
    assert (bare.record.HasField("content"), list(bare.modified_fields)) == (False, ["x"])


def test_more_than_10000_drafts_at_once_are_refused(ada: Drafts) -> None:
    for start in range(0, 10_001, 1_000):
        stop = min(start + 1_000, 10_001)
        ada.save(*(edit(f"{n:05}", create={}) for n in range(start, stop)), omit_content=True, session_id="s")
    for name, request in (
        ("Commit", ada.committing()),
        ("Commit", ada.committing(session_id="s")),
        ("Discard", ada.discarding()),
    ):
        refusal = ada.refused(name, request)
        assert (refusal.code.name, refusal.reason) == ("INVALID_ARGUMENT", "SELECTION_TOO_LARGE")
        assert refusal.metadata["limit"] == "10000"
    assert ada.page(page_size=1, include_total_size=True).total_size == 10_001


def test_commit_of_a_deleted_deletion_drops_the_draft(films: Records, ada: Drafts) -> None:
    ada.change("m-1", delete=True)
    films.delete("m-1")
    (result,) = ada.commit()
    assert (result.record.version, list(result.conflicts)) == (2, [])
    assert ada.drafted() == []
    assert films.get("m-1", show_deleted=True).HasField("delete_time")
