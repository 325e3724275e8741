"""DraftService: what is refused, with which reason, and that nothing changed."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from draftline.v1 import draft_pb2, types_pb2
from support.draft_calls import Drafts, edit
from support.responses import INVALID, Records, document, steps

ABORTED = grpc.StatusCode.ABORTED
LONG = "x" * 129
TEST = {"op": "test", "path": "/a", "value": 1}


@pytest.fixture
def film(records: Records, ada: Drafts) -> Drafts:
    """A record with a draft of version 1."""
    records.create("m-1", {"a": 1})
    ada.change("m-1", {"b": 1})
    return ada


@pytest.mark.parametrize(
    ("edits", "field"),
    [
        ([], "edits"),
        ([edit(f"m-{n}", {}) for n in range(1_001)], "edits"),
        ([edit("m-1")], "edits[0].edit"),
        ([edit("m-1", {}), edit("", {})], "edits[1].record_id"),
        ([edit(LONG, {})], "edits[0].record_id"),
        ([edit("a\nb", {})], "edits[0].record_id"),
        ([edit("m-1", {}, strategy=99)], "edits[0].strategy"),
        ([edit("m-1", create={}, strategy=1)], "edits[0].strategy"),
        ([edit("m-1", delete=True, strategy=1)], "edits[0].strategy"),
        ([edit("m-1", {}, depth=1)], "edits[0].depth"),
        ([edit("m-1", {}, depth=33, strategy=2)], "edits[0].depth"),
        ([edit("m-1", {}, strategy=types_pb2.MERGE_STRATEGY_MERGE_PATCH, depth=1)], "edits[0].depth"),
        ([edit("m-1", {}, expected_draft_version=-1)], "edits[0].expected_draft_version"),
        ([edit("m-1", {}, base_version=0)], "edits[0].base_version"),
        (
            [edit("m-1", operations=steps({"op": "remove", "path": "/a"}, TEST))],
            "edits[0].operations.operations[1].op",
        ),
        (
            [draft_pb2.DraftEdit(record_id="m-1", delta=types_pb2.Document())],
            "edits[0].delta.encoding",
        ),
    ],
)
def test_edit_that_breaks_a_rule_names_its_field(film: Drafts, edits: Any, field: str) -> None:
    refusal = film.refused("SaveDraft", film.saving(*edits))
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FIELD")
    assert list(refusal.fields) == [field]
    assert film.one("m-1").draft_version == 1


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"session_id": LONG}, "session_id"),
        ({"session_id": "a\x7f"}, "session_id"),
        ({"change_reason": "x" * 1_001}, "change_reason"),
        ({"change_reason": "\0"}, "change_reason"),
        ({"fields": ["a"] * 101}, "fields"),
        ({"response_encoding": 9}, "response_encoding"),
    ],
)
def test_save_that_breaks_a_rule_names_its_field(film: Drafts, options: dict[str, Any], field: str) -> None:
    refusal = film.refused("SaveDraft", film.saving(edit("m-1", {}), **options))
    assert (refusal.reason, list(refusal.fields)) == ("INVALID_FIELD", [field])


@pytest.mark.parametrize("part", ["delta", "create"])
@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": NaN}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"a": 1e1001}'])
def test_document_that_cannot_be_stored_is_refused(film: Drafts, part: str, text: str) -> None:
    broken = draft_pb2.DraftEdit(record_id="m-2", **{part: document(text)})
    refusal = film.refused("SaveDraft", film.saving(edit("m-1", {"c": 1}), broken))
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_DOCUMENT")
    assert all(field.startswith(f"edits[1].{part}") for field in refusal.fields)
    assert film.one("m-1").draft_version == 1


def test_operation_that_does_not_resolve_is_refused(film: Drafts) -> None:
    broken = edit("m-1", operations=steps({"op": "add", "path": "/c", "value": 1}, {"op": "remove", "path": "/none"}))
    refusal = film.refused("SaveDraft", film.saving(broken))
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_OPERATION")
    assert (refusal.metadata["operation"], refusal.metadata["path"]) == ("1", "/none")
    assert list(refusal.fields) == ["edits[0].operations.operations[1]"]


def test_record_twice_in_one_save_is_refused_in_either_mode(film: Drafts) -> None:
    for allow_partial in (False, True):
        twice = film.saving(edit("m-1", {}), edit("m-2", create={}), edit("m-1", {}), allow_partial=allow_partial)
        refusal = film.refused("SaveDraft", twice)
        assert (refusal.code, refusal.reason, refusal.metadata) == (INVALID, "DUPLICATE_RECORD", {"record_id": "m-1"})
        assert list(refusal.fields) == ["edits[2].record_id"]
    assert film.drafted() == ["m-1"]


@pytest.mark.parametrize(("record_id", "expected", "current"), [("m-1", 0, "1"), ("m-1", 2, "1"), ("m-2", 1, "0")])
def test_stale_draft_version_tells_the_current_one(
    film: Drafts, records: Records, record_id: str, expected: int, current: str
) -> None:
    records.create("m-2", {})
    refusal = film.refused("SaveDraft", film.saving(edit(record_id, {"c": 1}, expected_draft_version=expected)))
    assert (refusal.code, refusal.reason) == (ABORTED, "DRAFT_VERSION_MISMATCH")
    assert refusal.metadata["current_draft_version"] == current
    assert [each.draft_version for each in film.page().records] == [1, 0]


def test_stale_base_version_tells_the_current_one(film: Drafts, records: Records) -> None:
    records.patch("m-1", {"z": 1})
    refusal = film.refused("SaveDraft", film.saving(edit("m-1", {"c": 1}, base_version=1)))
    assert (refusal.code, refusal.reason, refusal.metadata["current_version"]) == (ABORTED, "VERSION_MISMATCH", "2")
    assert film.change("m-1", {"c": 1}, base_version=2).draft_version == 2


@pytest.mark.parametrize(
    ("refused", "code", "reason"),
    [
        (edit("none", {}), "NOT_FOUND", "RECORD_NOT_FOUND"),
        (edit("none", delete=True), "NOT_FOUND", "RECORD_NOT_FOUND"),
        (edit("gone", {}), "NOT_FOUND", "RECORD_DELETED"),
        (edit("gone", delete=True), "NOT_FOUND", "RECORD_DELETED"),
        (edit("gone", create={}), "NOT_FOUND", "RECORD_DELETED"),
        (edit("m-1", create={}), "ALREADY_EXISTS", "RECORD_EXISTS"),
        (edit("m-1", create={}, replace=True), "ALREADY_EXISTS", "RECORD_EXISTS"),
        (edit("new", create={}), "ALREADY_EXISTS", "RECORD_EXISTS"),
        (edit("deleted", {}), "FAILED_PRECONDITION", "DRAFT_DELETES_RECORD"),
    ],
)
def test_edit_that_the_record_does_not_allow_is_refused(
    film: Drafts, records: Records, refused: Any, code: str, reason: str
) -> None:
    records.create("gone", {})
    records.delete("gone")
    records.create("deleted", {})
    film.save(edit("deleted", delete=True), edit("new", create={}))
    refusal = film.refused("SaveDraft", film.saving(refused))
    assert (refusal.code.name, refusal.reason) == (code, reason)
    assert film.drafted() == ["deleted", "m-1", "new"]


def selection(*record_ids: str, version: int | None = None) -> draft_pb2.DraftSelection:
    drafts = [draft_pb2.SelectedDraft(record_id=each, expected_draft_version=version) for each in record_ids]
    return draft_pb2.DraftSelection(drafts=drafts)


@pytest.mark.parametrize("rpc", [("Commit", draft_pb2.CommitRequest), ("Discard", draft_pb2.DiscardRequest)])
@pytest.mark.parametrize(
    ("options", "reason", "field"),
    [
        ({}, "INVALID_FIELD", "selection"),
        ({"all": False}, "INVALID_FIELD", "all"),
        ({"session_id": ""}, "INVALID_FIELD", "session_id"),
        ({"session_id": LONG}, "INVALID_FIELD", "session_id"),
        ({"drafts": selection()}, "INVALID_FIELD", "drafts.drafts"),
        ({"drafts": selection(*map(str, range(10_001)))}, "INVALID_FIELD", "drafts.drafts"),
        ({"drafts": selection("m-1", "")}, "INVALID_FIELD", "drafts.drafts[1].record_id"),
        ({"drafts": selection("m-1", version=0)}, "INVALID_FIELD", "drafts.drafts[0].expected_draft_version"),
        ({"drafts": selection("m-1", "m-2", "m-1")}, "DUPLICATE_RECORD", "drafts.drafts[2].record_id"),
        ({"all": True, "fields": ["a"] * 101}, "INVALID_FIELD", "fields"),
        ({"all": True, "response_encoding": 7}, "INVALID_FIELD", "response_encoding"),
        ({"all": True, "collection": ""}, "INVALID_FIELD", "collection"),
        ({"all": True, "tenant_id": ""}, "INVALID_FIELD", "tenant_id"),
    ],
)
def test_selection_that_breaks_a_rule_names_its_field(
    film: Drafts, rpc: Any, options: dict[str, Any], reason: str, field: str
) -> None:
    name, message = rpc
    refusal = film.refused(name, message(**{**film.where, **options}))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, reason, [field])
    assert film.drafted() == ["m-1"]


@pytest.mark.parametrize("options", [{"conflict_policy": 9}, {"fields": ["x"] * 101}])
def test_commit_that_breaks_a_rule_names_its_field(film: Drafts, options: dict[str, Any]) -> None:
    assert list(film.refused("Commit", film.committing(**options)).fields) == list(options)


@pytest.mark.parametrize("rpc", ["Commit", "Discard"])
def test_selected_draft_must_be_there_in_its_version(film: Drafts, rpc: str) -> None:
    make = film.committing if rpc == "Commit" else film.discarding
    missing = film.refused(rpc, make(record_ids=["m-1", "m-2"]))
    assert (missing.code.name, missing.reason, missing.metadata["record_id"]) == ("NOT_FOUND", "DRAFT_NOT_FOUND", "m-2")
    stale = film.refused(rpc, make(record_ids={"m-1": 2}))
    assert (stale.code, stale.reason) == (ABORTED, "DRAFT_VERSION_MISMATCH")
    assert stale.metadata["current_draft_version"] == "1"
    assert film.drafted() == ["m-1"]


def test_request_that_does_not_decode_is_refused(film: Drafts) -> None:
    for name in ("SaveDraft", "GetMerged", "Commit", "Discard"):
        call = film.channel.unary_unary(f"/draftline.v1.DraftService/{name}")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff")
        assert caught.value.code() is INVALID
    with pytest.raises(grpc.RpcError) as caught:
        list(film.channel.unary_stream("/draftline.v1.DraftService/StreamMerged")(b"\xff\xff"))
    assert caught.value.code() is INVALID
