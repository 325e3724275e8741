"""Ids of deleted records: what a call that creates says of them, and how it writes over them."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest
from draftline.v1 import change_pb2, content_pb2, types_pb2
from support.change_calls import Changes, paths_of
from support.draft_calls import Drafts, edit
from support.responses import TIMEOUT_S, Records, content_of, refusal_in, refused, steps

REPLACE = types_pb2.MERGE_STRATEGY_REPLACE


@pytest.fixture
def changes(grpc_channel: grpc.Channel, tenant_id: str) -> Changes:
    return Changes(grpc_channel, tenant_id)


@pytest.fixture
def gone(records: Records) -> types_pb2.Record:
    """A record that was deleted, at version 3."""
    records.create("m-1", {"a": 1, "b": 2}, parent_id="p", position=1)
    records.patch("m-1", {"a": 5})
    return records.delete("m-1").record


def told_as_deleted(refusal: Any) -> None:
    assert (refusal.code.name, refusal.reason, refusal.metadata) == (
        "NOT_FOUND",
        "RECORD_DELETED",
        {"record_id": "m-1"},
    )
    assert all(way in refusal.message for way in ("allow_deleted", "UndeleteContent", "PurgeContent"))


@pytest.mark.usefixtures("gone")
def test_creation_over_a_deleted_record_says_that_it_is_deleted(records: Records) -> None:
    told_as_deleted(refused(records.stub.CreateContent, records.creation("m-1", {"a": 2})))
    told_as_deleted(refused(records.stub.CreateContent, records.creation("m-1", {"a": 2}, validate_only=True)))
    assert content_of(records.get("m-1", show_deleted=True)) == {"a": 5, "b": 2}


def test_creation_over_a_deleted_record_goes_on_with_its_versions(
    records: Records, changes: Changes, gone: types_pb2.Record
) -> None:
    created = records.create("m-1", {"c": 3}, allow_deleted=True, position=7, change_reason="anew")
    assert (created.version, content_of(created), created.position) == (4, {"c": 3}, 7)
    assert not created.HasField("parent_id")
    assert not created.HasField("delete_time")
    assert (created.create_time, created.created_by) == (gone.create_time, gone.created_by)
    stored = records.get("m-1", response_encoding=types_pb2.ENCODING_STRUCT)
    assert stored == created
    log = changes.of("m-1")
    kinds = [change_pb2.ChangeKind.Name(change.kind).removeprefix("CHANGE_KIND_") for change in log]
    assert kinds == ["CREATE", "UPDATE", "DELETE", "UNDELETE"]
    assert (log[3].source, log[3].change_reason) == (change_pb2.CHANGE_SOURCE_CREATE_CONTENT, "anew")
    assert paths_of(log[3]) == [("/a", 5, "absent"), ("/b", 2, "absent"), ("/c", "absent", 3)]
    assert paths_of(log[0]) == [("", "absent", {"a": 1, "b": 2})]
    reverted = changes.revert(("m-1", 4)).results[0].record
    assert (reverted.version, reverted.HasField("delete_time")) == (5, True)
    assert content_of(records.get("m-1", show_deleted=True)) == {"a": 5, "b": 2}


def test_creation_over_a_deleted_record_can_be_previewed(records: Records, gone: types_pb2.Record) -> None:
    preview = records.create("m-1", {"c": 3}, allow_deleted=True, validate_only=True)
    assert (preview.version, content_of(preview)) == (4, {"c": 3})
    assert records.get("m-1", show_deleted=True).version == gone.version


def test_allow_deleted_changes_nothing_for_other_ids(records: Records) -> None:
    assert records.create("m-1", {"a": 1}, allow_deleted=True).version == 1
    refusal = refused(records.stub.CreateContent, records.creation("m-1", {}, allow_deleted=True))
    assert (refusal.code.name, refusal.reason) == ("ALREADY_EXISTS", "RECORD_EXISTS")


@pytest.mark.usefixtures("gone")
def test_creation_over_a_deleted_record_checks_the_content(records: Records) -> None:
    over = "x" * (1024 * 1024)
    refusal = refused(records.stub.CreateContent, records.creation("m-1", {"a": over}, allow_deleted=True))
    assert refusal.reason == "DOCUMENT_TOO_LARGE"


@pytest.mark.usefixtures("gone")
def test_creation_over_a_deleted_record_brings_drafts_up_to_date(records: Records, ada: Drafts) -> None:
    records.create("m-2", {"a": 1, "b": 1})
    ada.change("m-2", {"a": 2})
    records.delete("m-2")
    records.create("m-2", {"b": 9}, allow_deleted=True)
    assert content_of(ada.one("m-2").record) == {"a": 2, "b": 9}
    ada.save(edit("m-2", {"c": 1}))
    assert content_of(ada.one("m-2").record) == {"a": 2, "b": 9, "c": 1}


def test_upsert_over_a_deleted_record_says_that_it_is_deleted(patched: Records) -> None:
    patched.create("m-1", {"a": 1})
    patched.delete("m-1")
    upsert = patched.patching("m-1", {"a": 2}, allow_missing=True)
    told_as_deleted(refused(patched.stub.PatchContent, upsert))
    plain = refused(patched.stub.PatchContent, patched.patching("m-1", {"a": 2}, allow_deleted=True))
    assert plain.message == "record 'm-1' is deleted; restore it with UndeleteContent"
    batch = content_pb2.BatchPatchContentRequest(tenant_id=patched.tenant_id, requests=[upsert], allow_partial=True)
    (result,) = patched.stub.BatchPatchContent(batch, timeout=TIMEOUT_S).results
    told_as_deleted(refusal_in(result.status))


UPSERTS: dict[str, tuple[dict[str, Any], Any]] = {
    "delta": ({"delta": {"a": 2}}, {"a": 2}),
    "merge patch": ({"delta": {"a": None, "n": {"b": None, "c": 1}}, "strategy": 3}, {"n": {"c": 1}}),
    "replacement": ({"delta": {"c": 0.5}, "strategy": REPLACE}, {"c": 0.5}),
    "operations": ({"operations": steps({"op": "increment", "path": "/n", "value": 2})}, {"n": 2}),
    "position": ({"position": 3}, {}),
}


def test_upsert_over_a_deleted_record_expects_no_version(patched: Records) -> None:
    patched.create("m-1", {"a": 1})
    patched.delete("m-1")
    over: dict[str, Any] = {"allow_missing": True, "allow_deleted": True, "expected_version": 2}
    refusal = refused(patched.stub.PatchContent, patched.patching("m-1", {"a": 2}, **over))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert "is deleted" in refusal.message
    assert refusal.metadata["current_version"] == "0"


@pytest.mark.parametrize("name", UPSERTS)
@pytest.mark.parametrize("is_batch", [False, True])
def test_upsert_over_a_deleted_record_begins_from_nothing(patched: Records, name: str, is_batch: bool) -> None:
    options, expected = UPSERTS[name]
    patched.create("m-1", {"a": 1, "b": 1}, parent_id="p")
    patched.delete("m-1")
    request = patched.patching("m-1", **options, allow_missing=True, allow_deleted=True, expected_version=0)
    answer: Any
    if is_batch:
        batch = content_pb2.BatchPatchContentRequest(
            tenant_id=patched.tenant_id, requests=[request, patched.patching("m-2", {"x": 1}, allow_missing=True)]
        )
        answer, other = patched.stub.BatchPatchContent(batch, timeout=TIMEOUT_S).results
        assert other.record.version == 1
    else:
        answer = patched.stub.PatchContent(request, timeout=TIMEOUT_S)
    assert (answer.record.version, content_of(answer.record)) == (3, expected)
    assert [*answer.changed_fields] == sorted(expected)
    assert not answer.record.HasField("parent_id")
    assert patched.content("m-1") == expected


def test_upsert_over_a_deleted_record_fails_as_over_none(patched: Records) -> None:
    patched.create("m-1", {"a": 1})
    patched.delete("m-1")
    over: dict[str, Any] = {"allow_missing": True, "allow_deleted": True}
    remove = steps({"op": "remove", "path": "/a"})
    for options, reason in (
        ({"delta": {"a": 1}, "expected_version": 2}, "VERSION_MISMATCH"),
        ({"delta": {"a": 1}, "condition": "a = 1"}, "CONDITION_NOT_MET"),
        ({"operations": remove}, "INVALID_OPERATION"),
    ):
        assert refused(patched.stub.PatchContent, patched.patching("m-1", **options, **over)).reason == reason
    assert patched.get("m-1", show_deleted=True).version == 2


def test_upsert_over_a_deleted_record_happens_once_for_its_id(patched: Records) -> None:
    patched.create("m-1", {"n": 1})
    patched.delete("m-1")
    request = patched.patching(
        "m-1",
        operations=steps({"op": "increment", "path": "/n", "value": 2}),
        allow_missing=True,
        allow_deleted=True,
        request_id=str(uuid.uuid4()),
    )
    first = patched.stub.PatchContent(request, timeout=TIMEOUT_S)
    assert patched.stub.PatchContent(request, timeout=TIMEOUT_S) == first
    assert (first.record.version, patched.content("m-1")) == (3, {"n": 2})
