"""The server starts, reports its health and reflection, and stops."""

from __future__ import annotations

import asyncio
import queue
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2, content_pb2, content_pb2_grpc, draft_pb2
from draftline_server import app
from draftline_server.domain.errors import OutOfReachError
from draftline_server.embedded_postgres.server import EmbeddedPostgres
from draftline_server.ops import revisions
from draftline_server.settings import Settings
from draftline_server.store.revision import SchemaError
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from support.polling import until
from support.responses import TIMEOUT_S, Records, refusal_of
from support.servers import start

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
CONTRACT = [
    service
    for file in (content_pb2, collection_pb2, draft_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]
SERVICES = ["", *(service.full_name for service in CONTRACT)]


def healths(channel: grpc.Channel) -> set[int]:
    stub = health_pb2_grpc.HealthStub(channel)
    return {stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT_S).status for name in SERVICES}


def test_every_service_is_serving(grpc_channel: grpc.Channel) -> None:
    assert healths(grpc_channel) == {SERVING}
    with pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(grpc_channel).Check(health_pb2.HealthCheckRequest(service="unknown"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_services_are_not_serving_while_the_database_is_away(data_dir: Path, serving: Any) -> None:
    postgres = EmbeddedPostgres(data_dir, durable=False)
    postgres.start()
    try:
        url = postgres.url
        with serving(url) as running, grpc.insecure_channel(running.address) as channel:
            records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
            records.create("m-1", {"a": 1})
            assert healths(channel) == {SERVING}
            postgres.stop()
            until(lambda: healths(channel) == {NOT_SERVING})
            for method, request in (
                (records.stub.GetContent, content_pb2.GetContentRequest(**records.ids("m-1"))),
                (records.stub.PatchContent, records.patching("m-1", {"a": 2})),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    method(request, timeout=TIMEOUT_S)
                refusal = refusal_of(caught.value)
                assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
            postgres.start()
            assert postgres.url == url
            until(lambda: healths(channel) == {SERVING})
            assert records.patch("m-1", {"a": 3}).record.version == 2
    finally:
        postgres.stop()


def reflected(channel: grpc.Channel, version: str, *requests: Any) -> list[Any]:
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return list(call(iter(requests), timeout=TIMEOUT_S))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_services_and_resolves_messages(grpc_channel: grpc.Channel, version: str) -> None:
    ask = reflection_pb2.ServerReflectionRequest
    listed, found, detail, missing = reflected(
        grpc_channel,
        version,
        ask(list_services=""),
        ask(file_containing_symbol="draftline.v1.PatchContentRequest"),
        ask(file_containing_symbol="google.rpc.BadRequest"),
        ask(file_containing_symbol="draftline.v1.Nothing"),
    )
    names = {service.name for service in listed.list_services_response.service}
    reflection = {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
    assert names >= {*SERVICES[1:], "grpc.health.v1.Health", *reflection}
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(f) for f in found.file_descriptor_response.file_descriptor_proto
    ]
    assert "PatchContentRequest" in {message.name for file in files for message in file.message_type}
    assert detail.file_descriptor_response.file_descriptor_proto
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_reflection_can_be_switched_off(database_url: str, serving: Any) -> None:
    with serving(database_url, reflection=False) as running, grpc.insecure_channel(running.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            reflected(channel, "v1", reflection_pb2.ServerReflectionRequest(list_services=""))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert healths(channel) == {SERVING}


def test_call_in_flight_ends_with_its_answer_while_the_server_drains(
    database_url: str, sql: Any, locked_record: Any
) -> None:
    stop = threading.Event()
    addresses: queue.Queue[str] = queue.Queue()

    async def serve() -> None:
        async with app.running(Settings(port=0, drain_timeout_s=20), database_url, revisions.head()) as running:
            addresses.put(running.address)
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        with grpc.insecure_channel(addresses.get(timeout=TIMEOUT_S)) as channel:
            records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
            records.create("m-1", {"a": 1})
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICES[1]))
            assert next(watch).status == SERVING
            with locked_record(database_url, "m-1"):
                slow = records.stub.PatchContent.future(records.patching("m-1", {"a": 2}), timeout=TIMEOUT_S)
                until(lambda: waiting(sql, database_url))
                stop.set()
                assert next(watch).status == NOT_SERVING
                until(lambda: refuses(records))
                assert not slow.done()
            assert slow.result(timeout=TIMEOUT_S).record.version == 2
    finally:
        stop.set()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


def refuses(records: Records) -> bool:
    try:
        records.get("m-1")
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


def waiting(sql: Any, url: str) -> list[Any]:
    """The backends that wait for a lock in a statement of the service."""
    query = """SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'draftline'"""
    return list(sql(url, query))


def test_server_refuses_a_database_that_was_never_migrated(database_url: str, sql: Any) -> None:
    sql(database_url, "DROP SCHEMA draftline CASCADE")
    with pytest.raises(SchemaError, match=r"was never migrated.*run `draftline migrate`"):
        start(database_url)


def test_server_refuses_an_old_schema(database_url: str, sql: Any) -> None:
    sql(database_url, "UPDATE draftline.alembic_version SET version_num = '0000'")
    with pytest.raises(SchemaError, match=r"is at revision 0000, this version needs .*run `draftline migrate`"):
        start(database_url)


def test_server_refuses_a_database_that_is_away(tmp_path: Path) -> None:
    with pytest.raises(OutOfReachError, match="cannot be reached"):
        start(f"postgresql://x@/x?host={tmp_path}")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_server_refuses_to_listen_beyond_loopback(database_url: str, host: str) -> None:
    with pytest.raises(ValueError, match="loopback alone"):
        start(database_url, host=host)


def test_second_server_on_a_port_is_refused(server: Any, database_url: str) -> None:
    port = int(server.address.rsplit(":", 1)[1])
    with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
        start(database_url, port=port)


def test_every_method_of_the_contract_is_served(grpc_channel: grpc.Channel) -> None:
    for service in CONTRACT:
        for method in service.methods:
            call = grpc_channel.stream_stream(f"/{service.full_name}/{method.name}")
            with pytest.raises(grpc.RpcError) as caught:
                list(call(iter([b""]), timeout=TIMEOUT_S))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
