"""A watch for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Generic

import grpc
import grpc.aio

from draftline._async.transport import Transport
from draftline._core.status import error_of_call
from draftline._core.watch_state import ItemT, WatchCall, WatchState
from draftline.errors import CallCancelledError, DraftlineError, UnavailableError
from draftline.v1 import change_pb2 as pb


class AsyncWatch(Generic[ItemT]):
    """`draftline.Watch` for asyncio. Created by `AsyncClient.watch` and `AsyncClient.watch_merged`.

        async with client.watch("movies") as watch:  # sees every change from here on
            async for change in watch:
                print(change.record_id, change.version, change.user_id)

    Iterate in one task. Waiting for an item may be cancelled and restarted without losing an
    item. `close` ends the iteration, as does closing the client.
    """

    def __init__(
        self,
        client: Transport,
        call: WatchCall[ItemT],
        silence_s: float,
        on_lost: Callable[[], object] | None = None,
    ) -> None:
        self._client = client
        self._call = call
        self._silence_s = silence_s
        self._state = WatchState(call, client._retry, may_renew=client._may_renew)
        self._on_lost = on_lost
        self._closed = asyncio.Event()
        self._stream: Any = None
        self._reading: asyncio.Task[Any] | None = None

    @property
    def resume_token(self) -> str:
        return self._state.resume_token

    async def ready(self) -> None:
        while not self._state.is_ready and not self._is_over():
            await self._receive()

    async def messages(self) -> AsyncIterator[list[ItemT]]:
        while not self._is_over():
            if not self._state.has_items:
                await self._receive()
            if not self._is_over():
                yield self._state.hand_over_all()

    async def close(self) -> None:
        self._closed.set()
        self._cut()

    async def __aenter__(self) -> AsyncWatch[ItemT]:
        try:
            await self.ready()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncWatch[ItemT]:
        return self

    async def __anext__(self) -> ItemT:
        while not self._is_over():
            if self._state.has_items:
                return self._state.hand_over()
            await self._receive()
        raise StopAsyncIteration

    def _is_over(self) -> bool:
        return self._closed.is_set() or self._client._is_closed

    async def _receive(self) -> None:
        """Receive one message, reconnecting as often as necessary; return without one if the watch ends."""
        while not self._is_over():
            try:
                self._state.take(await self._next())
            except Exception as error:
                self._disconnect()  # the next connection requests whatever was lost with this one
                if self._is_over():
                    return
                pause_s = self._state.pause_s(error) if isinstance(error, DraftlineError) else None
                if pause_s is None:
                    raise
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), pause_s)
            else:
                return

    async def _next(self) -> pb.WatchChangesResponse:
        if self._stream is None:
            self._stream = await self._client._connect(self._call.method, self._state.request())
            if self._closed.is_set():  # `close` ran before this stream was assigned
                self._cut()
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._stream.read())
        # If cancelled here, the read continues, and the next call waits for it.
        await asyncio.wait({self._reading}, timeout=self._silence_s)
        if not self._reading.done():
            raise UnavailableError(grpc.StatusCode.UNAVAILABLE, f"nothing came for {self._silence_s:g} seconds")
        reading, self._reading = self._reading, None
        try:
            message = reading.result()
        except asyncio.CancelledError:
            raise CallCancelledError(grpc.StatusCode.CANCELLED, "the stream was cancelled") from None
        except grpc.RpcError as failure:
            raise error_of_call(failure) from failure
        if message is grpc.aio.EOF:
            raise UnavailableError(grpc.StatusCode.UNAVAILABLE, "the stream ended")
        received: pb.WatchChangesResponse = message
        return received

    def _disconnect(self) -> None:
        self._cut()
        self._stream = self._reading = None
        if self._on_lost is not None:
            self._on_lost()

    def _cut(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._stream is not None:
            self._stream.cancel()
