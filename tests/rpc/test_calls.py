"""Calls that are slow, cancelled, large, or lose their database."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc
from draftline_server.store.database import Database
from draftline_server.store.pool_settings import PoolSettings
from support.polling import BLOCKED, until
from support.responses import TIMEOUT_S, Records, refusal_of


@pytest.mark.parametrize("timeout_s", [0.5, 1.0])
def test_call_past_its_deadline_ends_and_its_query_with_it(
    patched: Records, patching_server: Any, sql: Any, locked_record: Any, timeout_s: float
) -> None:
    patched.create("m-1", {"a": 1})
    with locked_record(patching_server.url, "m-1", patched.tenant_id):
        before = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            patched.stub.PatchContent(patched.patching("m-1", {"a": 2}), timeout=timeout_s)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - before >= timeout_s
        # Sooner than the lock is let go, and than the statement's own limit would end it.
        until(lambda: not sql(patching_server.url, BLOCKED), patience_s=15)
    assert patched.content("m-1") == {"a": 1}


def test_call_without_a_deadline_ends_by_the_servers_limit(
    database_url: str, serving: Any, sql: Any, locked_record: Any
) -> None:
    with serving(database_url, call_timeout_s=0.5) as running, grpc.insecure_channel(running.address) as channel:
        records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
        records.create("m-1", {"a": 1})
        with locked_record(database_url, "m-1"):
            with pytest.raises(grpc.RpcError) as caught:
                records.stub.PatchContent(records.patching("m-1", {"a": 2}))
            refusal = refusal_of(caught.value)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
            until(lambda: not sql(database_url, BLOCKED), patience_s=15)


def test_cancelled_call_cancels_its_query(patched: Records, patching_server: Any, sql: Any, locked_record: Any) -> None:
    patched.create("m-1", {"a": 1})
    batch = content_pb2.BatchPatchContentRequest(
        tenant_id=patched.tenant_id, requests=[patched.patching("m-1", {"a": 2}), patched.patching("m-2", {})]
    )
    with locked_record(patching_server.url, "m-1", patched.tenant_id):
        for method, request in (
            (patched.stub.PatchContent, patched.patching("m-1", {"a": 2})),
            (patched.stub.BatchPatchContent, batch),
            (patched.stub.DeleteContent, content_pb2.DeleteContentRequest(**patched.ids("m-1"))),
        ):
            call = method.future(request, timeout=TIMEOUT_S)
            until(lambda: sql(patching_server.url, BLOCKED))
            call.cancel()
            until(lambda: not sql(patching_server.url, BLOCKED), patience_s=15)
    assert patched.content("m-1") == {"a": 1}
    assert patched.patch("m-1", {"a": 3}).record.version == 2


def test_request_over_the_size_limit_is_refused(records: Records, server: Any) -> None:
    large = content_pb2.BatchPatchContentRequest(tenant_id=records.tenant_id)
    for n in range(17):
        item = records.patching(f"m-{n}", {"a": "x" * (1024 * 1024 - 50)}, allow_missing=True, fields=["none"])
        large.requests.add().CopyFrom(item)
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.address, options=options) as channel:
        stub = content_pb2_grpc.ContentServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.BatchPatchContent(large, timeout=TIMEOUT_S)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert records.is_missing("m-0")
        del large.requests[15:]
        assert len(stub.BatchPatchContent(large, timeout=TIMEOUT_S).results) == 15


def test_lost_connection_is_unavailable_and_the_pool_recovers(
    database_url: str, serving: Any, sql: Any, locked_record: Any
) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'draftline'"
    with serving(database_url) as running, grpc.insecure_channel(running.address) as channel:
        records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
        records.create("m-1", {"a": 1})
        with locked_record(database_url, "m-1"):
            call = records.stub.PatchContent.future(records.patching("m-1", {"a": 2}), timeout=TIMEOUT_S)
            until(lambda: sql(database_url, BLOCKED))
            sql(database_url, f"{kill} AND datname = current_database()")
            refusal = refusal_of(call.exception(timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        assert records.content("m-1") == {"a": 1}
        until(lambda: is_patched(records, {"a": 3}))
        for _ in range(20):  # a read is sent again when its connection turns out to be gone
            sql(database_url, f"{kill} AND datname = current_database()")
            assert records.content("m-1") == {"a": 3}


def is_patched(records: Records, delta: Any) -> bool:
    """Return whether a patch succeeded; it fails on a closed connection, because it is not retried."""
    try:
        records.patch("m-1", delta)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def test_busy_pool_refuses_calls_and_recovers(database_url: str, serving: Any, sql: Any, locked_record: Any) -> None:
    settings = {"pool_size": 2, "pool_connect_timeout_s": 2.0}  # which is how long a connection may take to make, too
    with serving(database_url, **settings) as running, grpc.insecure_channel(running.address) as channel:
        records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
        for record_id in ("m-1", "m-2"):
            records.create(record_id, {"a": 1})
        with locked_record(database_url, "m-1"), locked_record(database_url, "m-2"):
            # Batches: single patches that wait for records get only a part of the connections.
            patches = [records.patching(record_id, {"a": 2}) for record_id in ("m-1", "m-2")]
            batches = [content_pb2.BatchPatchContentRequest(tenant_id="acme", requests=[patch]) for patch in patches]
            slow = [records.stub.BatchPatchContent.future(batch, timeout=TIMEOUT_S) for batch in batches]
            until(lambda: len(sql(database_url, BLOCKED)) == 2)
            with pytest.raises(grpc.RpcError) as caught:
                records.stub.GetContent(content_pb2.GetContentRequest(**records.ids("m-1")), timeout=TIMEOUT_S)
            refusal = refusal_of(caught.value)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert [call.result(timeout=TIMEOUT_S).results[0].record.version for call in slow] == [2, 2]
        assert records.content("m-1") == {"a": 2}


def test_patches_that_wait_for_records_leave_connections_to_other_calls(
    database_url: str, serving: Any, sql: Any, locked_record: Any
) -> None:
    held = ("m-1", "m-2", "m-3")
    with serving(database_url, pool_size=2) as running, grpc.insecure_channel(running.address) as channel:
        records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
        for record_id in (*held, "free"):
            records.create(record_id, {"a": 1})
        with locked_record(database_url, "m-1"), locked_record(database_url, "m-2"), locked_record(database_url, "m-3"):
            patches = [records.patching(record_id, {"a": 2}) for record_id in held]
            slow = [records.stub.PatchContent.future(patch, timeout=TIMEOUT_S) for patch in patches]
            until(lambda: sql(database_url, BLOCKED))
            assert records.content("m-1") == {"a": 1}
            assert records.patch("free", {"a": 2}).record.version == 2
            assert not any(call.done() for call in slow)
        assert [call.result(timeout=TIMEOUT_S).record.version for call in slow] == [2, 2, 2]


def test_unexpected_error_tells_an_incident_and_nothing_else(database_url: str, serving: Any, sql: Any) -> None:
    with serving(database_url) as running, grpc.insecure_channel(running.address) as channel:
        records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
        sql(database_url, "ALTER TABLE draftline.record RENAME COLUMN content TO hidden_column")
        sql(database_url, "DROP TABLE draftline.collection")
        for method, request in (
            (records.stub.GetContent, content_pb2.GetContentRequest(**records.ids("m-1"))),
            (records.stub.PatchContent, records.patching("m-1", {"a": 2})),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                method(request, timeout=TIMEOUT_S)
            refusal = refusal_of(caught.value)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
            assert len(refusal.metadata["incident_id"]) == 32
            assert refusal.metadata["incident_id"] in refusal.message
            for secret in ("record", "column", "collection", "SELECT", "Error"):
                assert secret not in refusal.message


async def test_busy_pool_is_no_database_that_is_away(database_url: str) -> None:
    database = Database(database_url, PoolSettings(size=1, connect_timeout_s=5.0))
    await database.open()
    try:
        async with database.dedicated_connection():
            await database.ping()
            await database.ping()
    finally:
        await database.close()
