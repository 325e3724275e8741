"""Imports of both clients against a scripted server: sent messages, cancellation and errors."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import draftline
import grpc
import grpc.aio
import pytest
from draftline._aio.call_status import CallStatuses
from draftline._core.status import error_of_call
from draftline.v1 import content_pb2
from support.both_clients import Connect
from support.scripted_responses import INTERNAL, INVALID_ARGUMENT, WAIT_S
from support.scripted_server import STATUS_TRAILER, ScriptedServer, failure, info


class EndedCall:
    """The interface of a grpc.aio call that ended, possibly more than once."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callback = callback

    def end(self, code: int, details: str, trailers: tuple[tuple[str, bytes], ...]) -> None:
        canonical = next(each for each in grpc.StatusCode if each.value[0] == code)
        metadata = grpc.aio.Metadata(*trailers)
        self.failure = grpc.aio.AioRpcError(canonical, grpc.aio.Metadata(), metadata, details)
        self._callback(self)

    async def code(self) -> grpc.StatusCode:
        return self.failure.code()

    async def details(self) -> str | None:
        return self.failure.details()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return self.failure.trailing_metadata()


@pytest.fixture
def scripted(scripted: ScriptedServer) -> ScriptedServer:
    """The server, which waits to see whether an import was cancelled."""
    scripted.waits_for_cancellation = True
    return scripted


def assert_cancelled(scripted: ScriptedServer) -> None:
    if scripted.metadata:  # a call that was cancelled before it left never reaches the server
        assert scripted.import_ended.wait(WAIT_S)
    assert not scripted.import_completed


@pytest.mark.parametrize("record", [{"Title": "Alien"}, "ab", ("a",)])
async def test_record_without_an_id_and_a_content_is_refused(
    connect: Connect, scripted: ScriptedServer, record: Any
) -> None:
    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(TypeError, match="a pair of id and content"):
            await client.import_content("movies", [record])
    assert_cancelled(scripted)


async def test_import_sends_header_records_and_end(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda sent: content_pb2.ImportContentResponse(
        inserted_count=sum(len(each.chunk.records) for each in sent)
    )
    async with connect(scripted.address, tenant_id="acme") as client:
        records = ((str(number), {"n": number}) for number in range(12_345))
        result = await client.import_content("movies", records, mode="snapshot")
    assert result == draftline.ImportResult(12_345, 0, 0, 0)
    assert scripted.requests[0].header.mode == content_pb2.IMPORT_MODE_SNAPSHOT
    assert all(each.WhichOneof("part") == "chunk" for each in scripted.requests[1:-1])
    assert scripted.requests[-1].end.record_count == 12_345
    assert scripted.time_remaining[0] is None or scripted.time_remaining[0] > 1e6


async def test_import_of_records_that_raise_is_cancelled(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda _: content_pb2.ImportContentResponse()
    boom = OSError("disk")

    def records() -> Iterator[tuple[str, dict[str, int]]]:
        for number in range(5_000):
            yield str(number), {}
        raise boom

    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(OSError, match="disk") as caught:
            await client.import_content("movies", records())
    assert caught.value is boom
    assert_cancelled(scripted)


async def test_import_of_a_record_that_cannot_be_sent_is_cancelled(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda _: content_pb2.ImportContentResponse()
    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(ValueError, match="not a JSON number"):
            await client.import_content("movies", [("1", {}), ("2", {"n": float("nan")})])
    assert_cancelled(scripted)


async def test_import_that_the_service_refuses_stops_reading(connect: Connect, scripted: ScriptedServer) -> None:
    place = info("INVALID_DOCUMENT", record_index="7", record_id="8", source="line 9")
    scripted.answers["refuse_import"] = lambda _: failure(INVALID_ARGUMENT, "line 9: no", place)
    read = 0

    def endless() -> Iterator[tuple[str, dict[str, str]]]:
        nonlocal read
        while True:
            read += 1
            yield str(read), {"a": "x" * 100_000}

    async with connect(scripted.address, tenant_id="acme") as client:
        with pytest.raises(draftline.InvalidArgumentError) as caught:
            await client.import_content("movies", endless())
    assert caught.value.reason == "INVALID_DOCUMENT"
    assert (caught.value.record_index, caught.value.record_id, caught.value.source) == (7, "8", "line 9")


@pytest.mark.parametrize("code", [INTERNAL, INVALID_ARGUMENT])
@pytest.mark.parametrize("order", [("service", "local"), ("local", "service")])
def test_status_of_the_service_is_chosen_in_either_order(code: int, order: tuple[str, str]) -> None:
    refusal = failure(code, "no", info("INVALID_DOCUMENT"))
    statuses = {
        "service": (code, "no", ((STATUS_TRAILER, refusal.SerializeToString()),)),
        "local": (INTERNAL, "Internal error from Core", ()),
    }
    call = EndedCall()
    recorded = CallStatuses(call)
    for source in order:
        call.end(*statuses[source])
    error = error_of_call(recorded.best(call.failure))
    assert (error.code.value[0], error.reason, error.message) == (code, "INVALID_DOCUMENT", "no")


async def test_import_takes_asynchronous_records(scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda sent: content_pb2.ImportContentResponse(
        inserted_count=sum(len(each.chunk.records) for each in sent)
    )

    async def records() -> AsyncIterator[draftline.ImportRecord]:
        for number in range(1_000):
            yield draftline.ImportRecord(str(number), {})

    async with draftline.AsyncClient(scripted.address, tenant_id="acme") as client:
        assert (await client.import_content("movies", records())).inserted_count == 1_000


def test_import_reads_the_records_in_the_callers_thread(scripted: ScriptedServer) -> None:
    scripted.answers["ImportContent"] = lambda _: content_pb2.ImportContentResponse()
    threads = set()

    def records() -> Iterator[tuple[str, dict[str, int]]]:
        for number in range(2_000):
            threads.add(threading.current_thread())
            yield str(number), {}

    with draftline.Client(scripted.address, tenant_id="acme") as client:
        client.import_content("movies", records())
    assert threads == {threading.current_thread()}
