"""The end of a worker: requests that are out may finish, and no further ones are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from draftline.upstreams import NotTaken, Unknown

from .breaker import TokenBucket

T = TypeVar("T")

FINISH_S = 5.0  # for the requests that are out; process managers usually kill a process 10 s after SIGTERM
NOT_SENT = NotTaken("the worker ended before it sent the write")
NOT_ANSWERED = Unknown("the worker ended before the response arrived")


class Ending:
    """The signal to the requests of a worker that it ends."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self._limits: set[asyncio.Timeout] = set()

    @property
    def has_begun(self) -> bool:
        return self._begun.is_set()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`. If the caller is cancelled, `work` ends in order first."""
        task = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._begin()
            try:
                await asyncio.wait({task})
            finally:
                task.cancel()  # if the caller is cancelled once more
            if not task.cancelled():
                task.exception()  # is of no use to a caller that ends
            raise

    def _begin(self) -> None:
        self._begun.set()
        end = asyncio.get_running_loop().time() + FINISH_S
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(min(limit.when() or end, end))

    @asynccontextmanager
    async def time_limit(self, timeout_s: float) -> AsyncIterator[None]:
        """Raise TimeoutError in the block after `timeout_s`, or a short while after the worker has begun to end."""
        async with asyncio.timeout(timeout_s) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    async def allows_request(self, bucket: TokenBucket) -> bool:
        """Wait for the rate limit, and return whether the worker goes on."""
        waits = {asyncio.ensure_future(each) for each in (bucket.take(), self._begun.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        return not self.has_begun
