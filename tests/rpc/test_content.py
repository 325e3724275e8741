"""Records are created, read, deleted and brought back."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, types_pb2
from support.responses import TIMEOUT_S, Records, content_of, refused, struct

NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXISTS = grpc.StatusCode.ALREADY_EXISTS


def test_created_record_is_answered_whole(records: Records) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    record = records.create("m-1", {"Title": "Alien"}, parent_id="sequels", position=-7)
    assert (record.tenant_id, record.collection, record.record_id) == (records.tenant_id, "films", "m-1")
    assert (record.version, record.parent_id, record.position) == (1, "sequels", -7)
    assert (record.created_by, record.updated_by) == ("dev", "dev")
    assert record.create_time == record.update_time
    assert before < record.create_time.ToDatetime(UTC) < datetime.now(UTC) + timedelta(seconds=5)
    assert not record.HasField("delete_time")
    assert records.get("m-1", response_encoding=types_pb2.ENCODING_STRUCT) == record


def test_created_record_without_parent_and_position_has_none(records: Records) -> None:
    record = records.create("m-1", {}, parent_id="")
    assert not record.HasField("parent_id")
    assert not record.HasField("position")
    assert content_of(record) == {}


def test_create_without_an_id_chooses_ordered_uuids_of_version_7(records: Records) -> None:
    made = [uuid.UUID(records.create("", {"n": n}).record_id) for n in range(20)]
    assert {each.version for each in made} == {7}
    assert made == sorted(made)
    assert records.content(str(made[3])) == {"n": 3}


def test_create_takes_the_user_from_the_metadata(records: Records) -> None:
    records.stub.CreateContent(records.creation("m-1", {}), metadata=(("x-draftline-user", "ada"),))
    record = records.get("m-1")
    assert (record.created_by, record.updated_by) == ("ada", "ada")


def test_create_of_a_taken_id_is_refused(records: Records) -> None:
    records.create("m-1", {"a": 1})
    refusal = refused(records.stub.CreateContent, records.creation("m-1", {"a": 2}))
    assert (refusal.code, refusal.reason, refusal.metadata) == (EXISTS, "RECORD_EXISTS", {"record_id": "m-1"})
    assert content_of(records.get("m-1", show_deleted=True)) == {"a": 1}


def test_validate_only_create_answers_and_writes_nothing(records: Records) -> None:
    record = records.create("m-1", {"a": 1}, validate_only=True)
    assert (record.version, content_of(record)) == (1, {"a": 1})
    assert records.is_missing("m-1")
    records.create("m-1", {"a": 2})
    assert refused(records.stub.CreateContent, records.creation("m-1", {}, validate_only=True)).code is EXISTS


def test_ids_of_every_kind_of_character_are_kept(records: Records) -> None:
    for record_id in ("a/b", "ünï", "日本", "🎬" * 128, " spaced ", "'; --", "%s", '"', "\\", "\u202e", "x" * 128):
        assert records.create(record_id, {"id": record_id}).record_id == record_id
        assert records.content(record_id) == {"id": record_id}


def test_records_of_other_tenants_and_collections_are_others(records: Records) -> None:
    records.create("m-1", {"a": 1})
    elsewhere = (Records(records.stub, records.tenant_id, "books"), Records(records.stub, f"{records.tenant_id}x"))
    for other in elsewhere:
        assert other.is_missing("m-1")
        request = content_pb2.DeleteContentRequest(**other.ids("m-1"))
        assert refused(records.stub.DeleteContent, request).reason == "RECORD_NOT_FOUND"
        other.create("m-1", {"b": 2})
    assert records.content("m-1") == {"a": 1}


@pytest.mark.parametrize("encoding", [types_pb2.ENCODING_STRUCT, types_pb2.ENCODING_JSON])
def test_fields_alone_are_answered_by_every_method(records: Records, encoding: int) -> None:
    asked: dict[str, Any] = {"fields": ["b", "missing", "b"], "response_encoding": encoding}
    whole = {"a": 1, "b": {"c": [1, None]}, "": 2}
    expected = {"b": {"c": [1, None]}}
    assert content_of(records.create("m-1", whole, **asked)) == expected
    assert content_of(records.get("m-1", **asked)) == expected
    assert content_of(records.patch("m-1", {"a": 2}, **asked).record) == expected
    assert content_of(records.delete("m-1", **asked).record) == expected
    assert content_of(records.undelete("m-1", **asked)) == expected
    assert records.content("m-1") == {**whole, "a": 2}


def test_empty_key_can_be_asked_for(records: Records) -> None:
    assert content_of(records.create("m-1", {"": 1, "a": 2}, fields=[""])) == {"": 1}


@pytest.mark.parametrize("encoding", [types_pb2.ENCODING_UNSPECIFIED, types_pb2.ENCODING_STRUCT])
def test_answer_is_a_struct_unless_json_is_asked_for(records: Records, encoding: int) -> None:
    request = content_pb2.CreateContentRequest(
        **records.ids("m-1"), content=struct({"a": [True, None, "x", 1.5]}), response_encoding=encoding
    )
    record = records.stub.CreateContent(request, timeout=TIMEOUT_S).record
    assert record.content.WhichOneof("encoding") == "struct"
    assert records.get("m-1", response_encoding=types_pb2.ENCODING_JSON).content.WhichOneof("encoding") == "json"
    assert records.content("m-1") == content_of(record) == {"a": [True, None, "x", 1.5]}


def test_get_of_a_record_that_never_was_is_not_found(records: Records) -> None:
    refusal = refused(records.stub.GetContent, content_pb2.GetContentRequest(**records.ids("m-1")))
    assert (refusal.code, refusal.reason) == (NOT_FOUND, "RECORD_NOT_FOUND")
    assert refusal.message == f"there is no record 'm-1' in collection {records.collection!r}"


def test_deleted_record_is_found_only_when_asked_for(records: Records) -> None:
    records.create("m-1", {"a": 1})
    deleted = records.delete("m-1").record
    assert (deleted.version, content_of(deleted)) == (2, {"a": 1})
    assert deleted.delete_time == deleted.update_time
    refusal = refused(records.stub.GetContent, content_pb2.GetContentRequest(**records.ids("m-1")))
    assert (refusal.code, refusal.reason) == (NOT_FOUND, "RECORD_DELETED")
    assert records.get("m-1", show_deleted=True, response_encoding=types_pb2.ENCODING_STRUCT) == deleted


def test_delete_of_what_is_not_there_is_refused_unless_allowed(records: Records) -> None:
    request = content_pb2.DeleteContentRequest(**records.ids("m-1"))
    assert refused(records.stub.DeleteContent, request).reason == "RECORD_NOT_FOUND"
    assert not records.delete("m-1", allow_missing=True).HasField("record")
    records.create("m-1", {})
    records.delete("m-1", allow_missing=True)
    assert refused(records.stub.DeleteContent, request).reason == "RECORD_DELETED"
    assert not records.delete("m-1", allow_missing=True).HasField("record")
    assert records.get("m-1", show_deleted=True).version == 2


def test_delete_of_another_version_is_aborted(records: Records) -> None:
    records.create("m-1", {})
    request = content_pb2.DeleteContentRequest(**records.ids("m-1"), expected_version=7)
    refusal = refused(records.stub.DeleteContent, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert refusal.metadata["current_version"] == "1"
    assert records.get("m-1").version == 1
    assert records.delete("m-1", expected_version=1).record.version == 2


def test_delete_checks_its_condition(records: Records) -> None:
    records.create("m-1", {"owner": "ada", "n": 3})
    for condition in ('owner = "bob"', "n > 3", "record.version > 1", "missing = 1"):
        refusal = refused(
            records.stub.DeleteContent, content_pb2.DeleteContentRequest(**records.ids("m-1"), condition=condition)
        )
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONDITION_NOT_MET")
    assert records.get("m-1").version == 1
    assert records.delete("m-1", condition='owner = "ada" AND record.version = 1').record.version == 2


def test_validate_only_delete_answers_and_writes_nothing(records: Records) -> None:
    records.create("m-1", {})
    record = records.delete("m-1", validate_only=True).record
    assert (record.version, record.HasField("delete_time")) == (2, True)
    assert records.get("m-1").version == 1


def test_undeleted_record_is_as_it_was(records: Records) -> None:
    created = records.create("m-1", {"a": 1}, parent_id="p", position=3)
    records.delete("m-1")
    back = records.undelete("m-1")
    assert (back.version, back.HasField("delete_time")) == (3, False)
    assert (back.content, back.parent_id, back.position) == (created.content, "p", 3)
    assert back.create_time == created.create_time
    assert records.get("m-1", response_encoding=types_pb2.ENCODING_STRUCT) == back


def test_undelete_refuses_live_missing_and_stale_records(records: Records) -> None:
    request = content_pb2.UndeleteContentRequest(**records.ids("m-1"), expected_version=1)
    assert refused(records.stub.UndeleteContent, request).reason == "RECORD_NOT_FOUND"
    records.create("m-1", {})
    refusal = refused(records.stub.UndeleteContent, request)
    assert (refusal.code, refusal.reason) == (EXISTS, "RECORD_NOT_DELETED")
    records.delete("m-1")
    refusal = refused(records.stub.UndeleteContent, request)
    assert (refusal.reason, refusal.metadata["current_version"]) == ("VERSION_MISMATCH", "2")


def test_validate_only_undelete_answers_and_writes_nothing(records: Records) -> None:
    records.create("m-1", {})
    records.delete("m-1")
    assert records.undelete("m-1", validate_only=True, expected_version=2).version == 3
    assert records.get("m-1", show_deleted=True).version == 2
