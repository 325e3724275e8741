"""The queue between the tasks that add writes and the stream that sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from draftline._core.bulk_state import BulkState, Outcome, PendingWrite
from draftline.models import BulkProgress
from draftline.v1 import content_pb2 as pb

WriteFuture = asyncio.Future
Finish = Callable[[Any, Any, "Exception | None"], None]


def new_future() -> asyncio.Future[Any]:
    """Create the future of a write."""
    return asyncio.get_running_loop().create_future()


def complete(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    """Set the outcome of a future, unless its owner has cancelled it."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
        future.exception()  # the writer reports the failure, so asyncio need not log that nobody has read it


class WriteQueue:
    """The state of a bulk writer with waiting. `finish` is called with each write that has ended."""

    def __init__(self, state: BulkState[Any], finish: Finish) -> None:
        self._state = state
        self._finish = finish
        self._changed = asyncio.Condition()
        self._stream = 0  # counts the streams; the requests of an earlier one end
        self.is_closed = False

    @property
    def progress(self) -> BulkProgress:
        return self._state.progress

    async def put(self, write: PendingWrite[Any]) -> None:
        """Wait for room and add the write."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.is_closed or self._state.has_room)
            if self.is_closed:
                raise RuntimeError("the bulk writer is closed: create a new one")
            self._state.add(write)
            self._changed.notify_all()

    async def wait_for_work(self) -> bool:
        """Wait until there is a write to send. Return False if the queue is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.is_closed or not self._state.is_idle)
            return not self.is_closed

    async def flush(self) -> None:
        """Wait until every write that was added has ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._state.is_idle)

    async def restart(self) -> int:
        """Begin a new stream: what was sent without an outcome is sent again. Return the number of the stream."""
        async with self._changed:
            self._end(self._state.restart())
            self._stream += 1
            return self._stream

    async def messages(self, stream: int) -> AsyncIterator[pb.StreamPatchesRequest]:
        """Yield the messages of a stream until another one begins or the queue is closed."""
        while True:
            async with self._changed:
                message = None
                while stream == self._stream and not self.is_closed and message is None:
                    message = self._state.next_message()
                    if message is None:
                        with suppress(asyncio.TimeoutError):
                            await asyncio.wait_for(self._changed.wait(), self._state.delay_s())
            if message is None:
                return
            yield message

    async def accept(self, response: pb.StreamPatchesResponse) -> None:
        async with self._changed:
            self._end(self._state.accept(response))

    async def fail(self, error: Exception) -> None:
        """End all writes with an error."""
        async with self._changed:
            self._end(self._state.fail(error))

    async def end_stream(self) -> None:
        """End the requests of the current stream."""
        async with self._changed:
            self._stream += 1
            self._changed.notify_all()

    async def close(self) -> None:
        """Accept no further writes, and end the requests of the current stream."""
        async with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def _end(self, outcomes: list[Outcome[Any]]) -> None:
        for write, result, error in outcomes:
            complete(write.future, result, error)
            self._finish(write, result, error)
        self._changed.notify_all()
