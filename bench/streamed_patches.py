"""Load through one stream of patches. A call is a message of several patches, and ends with its last outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from draftline.v1 import content_pb2

from . import requests
from .load_generators import Load, metadata_of, prepared

METHOD = "/draftline.v1.ContentService/StreamPatches"


@asynccontextmanager
async def streamed_patches(load: Load) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Yield a function that sends the next message and waits for its outcomes."""
    messages = prepared(requests.stream_messages(load), load.prepared)
    waiting: dict[int, list[Any]] = {}  # by the number of the message: outcomes to come, and a future
    sent = 0
    async with grpc.aio.insecure_channel(load.address) as channel:
        stream: Any = channel.stream_stream(METHOD)(metadata=metadata_of(load))
        turn = asyncio.Lock()

        async def call() -> None:
            nonlocal sent
            async with turn:
                ended = asyncio.get_running_loop().create_future()
                waiting[sent] = [requests.STREAMED, ended]
                sent += 1
                await stream.write(next(messages))
            await ended

        async def read() -> None:
            async for data in stream:
                for result in content_pb2.StreamPatchesResponse.FromString(data).results:
                    if result.status.code:
                        raise RuntimeError(result.status.message)
                    number = result.index // requests.STREAMED
                    entry = waiting[number]
                    entry[0] -= 1
                    if not entry[0]:
                        waiting.pop(number)[1].set_result(None)

        reading = asyncio.create_task(read())
        reading.add_done_callback(lambda _: fail(waiting, reading))
        yield call
        await stream.done_writing()
        await reading


def fail(waiting: dict[int, list[Any]], reading: asyncio.Task[None]) -> None:
    """Fail the calls that wait for outcomes when the stream has ended."""
    for _, ended in waiting.values():
        ended.set_exception(reading.exception() or RuntimeError("the stream ended early"))
    waiting.clear()
