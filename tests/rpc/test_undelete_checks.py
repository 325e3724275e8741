"""All calls that restore a deleted record validate it by the current collection spec."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2, collection_pb2_grpc, content_pb2, draft_pb2
from support.change_calls import Changes
from support.draft_calls import Drafts, edit
from support.responses import INVALID, TIMEOUT_S, Records, refused

SCHEMA = '{"properties": {"n": {"type": "integer"}}}'
LONG = "x" * 801


@pytest.fixture
def changes(grpc_channel: grpc.Channel, tenant_id: str) -> Changes:
    return Changes(grpc_channel, tenant_id)


@pytest.fixture
def declare(grpc_channel: grpc.Channel, records: Records) -> Callable[..., collection_pb2.Collection]:
    def put(fields: Any = (), **options: Any) -> collection_pb2.Collection:
        request = collection_pb2.PutCollectionRequest(
            tenant_id=records.tenant_id, collection=records.collection, **options
        )
        for path in fields:
            request.fields.add(path=path, type=collection_pb2.FIELD_TYPE_TEXT)
        stub = collection_pb2_grpc.CollectionServiceStub(grpc_channel)
        return stub.PutCollection(request, timeout=TIMEOUT_S).collection

    return put


@pytest.fixture
def records(grpc_stub: Any, tenant_id: str) -> Records:
    return Records(grpc_stub, tenant_id, "films")


# (what the deleted record holds, what is declared since, the reason)
BROKEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "schema": ({"n": "text"}, {"json_schema": SCHEMA}, "SCHEMA_VIOLATION"),
    "declared text": ({"t": LONG}, {"fields": ["/t"]}, "INDEXED_TEXT_TOO_LONG"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_record_that_breaks_the_declaration_does_not_come_back(
    records: Records, changes: Changes, ada: Drafts, declare: Callable[..., Any], name: str
) -> None:
    content, declaration, reason = BROKEN[name]
    records.create("m-1", content)
    ada.change("m-1", {"other": 1})
    records.delete("m-1")
    declare(**declaration)  # no content of deleted records stands in its way
    undelete = content_pb2.UndeleteContentRequest(**records.ids("m-1"))
    for request in (undelete, content_pb2.UndeleteContentRequest(**records.ids("m-1"), validate_only=True)):
        refusal = refused(records.stub.UndeleteContent, request)
        assert (refusal.code, refusal.reason) == (INVALID, reason)
        assert refusal.message.startswith("record 'm-1': ")
    assert changes.refused("RevertChange", changes.reverting(("m-1", 2))).reason == reason
    mine = ada.committing(all=True, conflict_policy=draft_pb2.CONFLICT_POLICY_KEEP_MINE)
    assert ada.refused("Commit", mine).reason == reason
    creation = records.creation("m-1", content, allow_deleted=True)
    assert refused(records.stub.CreateContent, creation).reason == reason
    upsert = records.patching("m-1", content, allow_missing=True, allow_deleted=True)
    assert refused(records.stub.PatchContent, upsert).reason == reason
    assert records.get("m-1", show_deleted=True).version == 2
    declare()
    assert records.undelete("m-1").version == 3


def test_record_that_keeps_the_declaration_comes_back_once(records: Records, declare: Callable[..., Any]) -> None:
    records.create("m-1", {"n": 1, "t": "short"})
    records.delete("m-1")
    declare(["/t"], json_schema=SCHEMA)
    request = content_pb2.UndeleteContentRequest(**records.ids("m-1"), request_id=str(uuid.uuid4()))
    first = records.stub.UndeleteContent(request, timeout=TIMEOUT_S)
    assert first.record.version == 3
    assert records.stub.UndeleteContent(request, timeout=TIMEOUT_S) == first


def test_draft_of_a_creation_over_what_breaks_the_declaration_is_unaffected(
    records: Records, ada: Drafts, declare: Callable[..., Any]
) -> None:
    records.create("m-1", {"n": "text"})
    records.delete("m-1")
    declare(json_schema=SCHEMA)
    ada.save(edit("m-2", create={"n": 2}))
    assert [each.record.version for each in ada.commit(all=True)] == [1]
