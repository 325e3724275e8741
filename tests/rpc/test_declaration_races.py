"""A declaration against what is written at the same time, and against those of the same tenant."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2, collection_pb2_grpc, content_pb2
from support.polling import until
from support.responses import TIMEOUT_S, Records, document, refused

Put = collection_pb2.PutCollectionRequest
SCHEMA = '{"maxProperties": 1}'


@pytest.fixture
def records(grpc_stub: Any, tenant_id: str) -> Records:
    return Records(grpc_stub, tenant_id, f"films-{uuid.uuid4().hex[:8]}")


def imported(records: Records, content: Any) -> Iterator[content_pb2.ImportContentRequest]:
    ids = records.ids("m-1")
    record_id = ids.pop("record_id")
    yield content_pb2.ImportContentRequest(header=content_pb2.ImportHeader(**ids))
    row = content_pb2.ImportRecord(record_id=record_id, content=document(content))
    yield content_pb2.ImportContentRequest(chunk=content_pb2.ImportChunk(records=[row]))
    yield content_pb2.ImportContentRequest(end=content_pb2.ImportEnd(record_count=1))


WRITES = {
    "patch": lambda records: records.stub.PatchContent.future(records.patching("m-1", {"b": 2}), timeout=TIMEOUT_S),
    "batch": lambda records: records.stub.BatchPatchContent.future(
        content_pb2.BatchPatchContentRequest(tenant_id=records.tenant_id, requests=[records.patching("m-1", {"b": 2})]),
        timeout=TIMEOUT_S,
    ),
    "import": lambda records: records.stub.ImportContent.future(imported(records, {"a": 1, "b": 2}), timeout=TIMEOUT_S),
}
WAITING = """SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'draftline'
    AND wait_event_type = 'Lock'"""


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("name", WRITES)
def test_declaration_is_answered_when_the_writes_before_it_are_over(
    records: Records, server: Any, sql: Any, collection_stub: Any, locked_record: Any, name: str, declared: bool
) -> None:
    request = Put(tenant_id=records.tenant_id, collection=records.collection)
    if declared:
        collection_stub.PutCollection(request, timeout=TIMEOUT_S)
    records.create("m-1", {"a": 1})
    with locked_record(server.url, "m-1", records.tenant_id):
        write = WRITES[name](records)
        until(lambda: sql(server.url, WAITING))
        request.json_schema = SCHEMA
        declaration = collection_stub.PutCollection.future(request, timeout=TIMEOUT_S)
        for _ in range(100):  # time enough to be answered
            records.get("m-1")
        assert not declaration.done()
    assert write.code() is declaration.code() is grpc.StatusCode.OK
    assert records.content("m-1") == {"a": 1, "b": 2}
    refusal = refused(records.stub.PatchContent, records.patching("m-1", {"c": 3}))
    assert refusal.reason == "SCHEMA_VIOLATION"


def test_tenant_declares_so_many_indexes_and_no_more(database_url: str, serving: Any) -> None:
    def put(stub: Any, tenant_id: str, collection: str, fields: int, **more: Any) -> Put:
        request = Put(tenant_id=tenant_id, collection=collection, **more)
        for number in range(fields):
            request.fields.add(path=f"/{number}", type=collection_pb2.FIELD_TYPE_BOOLEAN)
        stub.PutCollection(request, timeout=TIMEOUT_S)
        return request

    with serving(database_url, max_indexes_per_tenant=4) as running, grpc.insecure_channel(running.address) as channel:
        stub = collection_pb2_grpc.CollectionServiceStub(channel)
        put(stub, "acme", "a", 3)
        too_many = Put(tenant_id="acme", collection="b", orders=[{"keys": [{"path": "/b"}]}])
        too_many.fields.add(path="/b", type=collection_pb2.FIELD_TYPE_NUMBER)
        refusal = refused(stub.PutCollection, too_many)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "COLLECTION_CONFLICT")
        assert refusal.metadata == {"limit": "4"}
        put(stub, "other", "b", 4)
        with ThreadPoolExecutor(4) as pool:
            outcomes = [pool.submit(put, stub, "acme", f"b{number}", 1) for number in range(4)]
        assert sum(outcome.exception() is None for outcome in outcomes) == 1
    with serving(database_url, max_indexes_per_tenant=1) as running, grpc.insecure_channel(running.address) as channel:
        stub = collection_pb2_grpc.CollectionServiceStub(channel)
        put(stub, "acme", "a", 3, json_schema=SCHEMA)  # has more already, and adds none
        put(stub, "acme", "a", 2)
        with pytest.raises(grpc.RpcError, match="FAILED_PRECONDITION"):
            put(stub, "acme", "a", 3)
