"""gRPC interceptors of a client see every attempt of every kind of call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import draftline
import grpc
import grpc.aio
import pytest
from draftline.v1 import content_pb2, draft_pb2
from support.both_clients import Threaded
from support.scripted_log import ScriptedLog, change
from support.scripted_responses import INVALID_ARGUMENT, QUICK, UNAVAILABLE, found, record
from support.scripted_server import ScriptedServer, failure, info

Connect = Callable[..., AbstractAsyncContextManager[Any]]


class Marking(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamUnaryClientInterceptor):
    """Records each call, and adds its name to the metadata."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[str] = []

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        path = details.method if isinstance(details.method, str) else details.method.decode()  # as asyncio has it
        self.seen.append(path.rpartition("/")[2])
        metadata = [*details.metadata, ("x-trail", self.name)]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_stream = intercept_stream_unary = intercept_unary_unary


class AsyncUnary(Marking, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await super().intercept_unary_unary(continuation, details, request)


class AsyncList(Marking, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await Marking.intercept_unary_unary(self, continuation, details, request)


class AsyncImport(Marking, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await Marking.intercept_unary_unary(self, continuation, details, requests)


@pytest.fixture(params=["sync", "async"])
def marked(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a client with interceptors of these names, and the calls that each saw."""

    @asynccontextmanager
    async def connected(address: str, *names: str) -> AsyncIterator[tuple[Any, list[list[str]]]]:
        settings: dict[str, Any] = {"tenant_id": "acme", "retry": QUICK}
        if request.param == "async":
            kinds = [[AsyncUnary(name), AsyncList(name), AsyncImport(name)] for name in names]
            for first, *others in kinds:
                for other in others:
                    other.seen = first.seen
            interceptors = [each for kind in kinds for each in kind]
            async with draftline.AsyncClient(address, interceptors=interceptors, **settings) as client:
                yield client, [kind[0].seen for kind in kinds]
        else:
            markers = [Marking(name) for name in names]
            with draftline.Client(address, interceptors=markers, **settings) as client:
                yield Threaded(client), [each.seen for each in markers]

    return connected


async def test_interceptors_see_each_attempt_of_each_kind_of_call(marked: Connect, scripted: ScriptedServer) -> None:
    answers = iter([failure(UNAVAILABLE, "gone"), found(None)])
    scripted.answers["GetContent"] = lambda _: next(answers)
    scripted.answers["ImportContent"] = lambda _: content_pb2.ImportContentResponse(inserted_count=1)
    merged = draft_pb2.MergedRecord(state=draft_pb2.RECORD_STATE_PRISTINE, record=record())
    scripted.answers["StreamMerged"] = lambda _: [draft_pb2.StreamMergedResponse(records=[merged])]
    scripted.answers["WatchChanges"] = ScriptedLog([[change(1)], [change(2)]], [(2, failure(UNAVAILABLE, "gone"))])
    async with marked(scripted.address, "a") as (client, (seen,)):
        await client.get_content("movies", "m-1")
        assert (await client.import_content("movies", [("m-1", {})])).inserted_count == 1
        assert [each.record_id async for each in client.stream_merged("movies")] == ["m-1"]
        async with client.watch("movies") as watch:
            assert [(await anext(watch)).version for _ in range(2)] == [1, 2]
    assert seen == ["GetContent", "GetContent", "ImportContent", "StreamMerged", "WatchChanges", "WatchChanges"]
    assert [each["x-trail"] for each in scripted.metadata] == ["a"] * 6


async def test_first_interceptor_is_the_outermost(marked: Connect, scripted: ScriptedServer) -> None:
    trails: list[list[str]] = []
    scripted.answers["GetContent"] = found
    noting = scripted._note

    def note(context: Any) -> None:
        trails.append([value for key, value in context.invocation_metadata() if key == "x-trail"])
        noting(context)

    scripted._note = note  # type: ignore[method-assign]
    async with marked(scripted.address, "a", "b") as (client, _):
        await client.get_content("movies", "m-1")
    assert trails == [["a", "b"]]


async def test_errors_pass_through_interceptors(marked: Connect, scripted: ScriptedServer) -> None:
    refusal = failure(INVALID_ARGUMENT, "too long", info("INVALID_FIELD"))
    scripted.answers["GetContent"] = scripted.answers["refuse_import"] = lambda _: refusal
    scripted.answers["StreamMerged"] = lambda _: [refusal]
    async with marked(scripted.address, "a") as (client, _):
        for call in (
            client.get_content("movies", "m-1"),
            client.import_content("movies", [(str(n), {"text": "x" * 1000}) for n in range(5000)]),
            anext(client.stream_merged("movies")),
        ):
            with pytest.raises(draftline.InvalidArgumentError, match="too long") as caught:
                await call
            assert caught.value.reason == "INVALID_FIELD"
