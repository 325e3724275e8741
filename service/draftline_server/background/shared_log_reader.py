"""Readers of the ends of logs, each shared by all watchers of a scope.

Watchers of one scope that have read to the end share the next page: the first one that needs it reads it, and the
others reuse it. Only the last page is cached. A watcher that is further behind reads on its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import replace

from ..concurrency.call_context import call_tenant
from ..store.change_log.feed import Feed, FeedPage, LogPosition, Scope
from .change_signal import ChangeSignal

PENDING_S = (0.005, 0.25)  # the first and the longest pause before pending changes are read again


class SharedLogReader:
    """A cache of the last page of one scope's log."""

    def __init__(self, feed: Feed, scope: Scope, signal: ChangeSignal) -> None:
        self.watchers = 0
        self._feed = feed
        self._scope = scope
        self._signal = signal
        self._page: FeedPage | None = None
        self._count = -1  # the number of the last wake-up when the page was read
        self._reading: asyncio.Task[None] | None = None
        self._waiting = 0  # watchers that wait for the reading task
        self._pause_s = PENDING_S[0]

    async def read(self, after: LogPosition, count: int) -> FeedPage:
        """Return the page after a position, as current as the `count`-th wake-up.

        Raise TokenExpiredError if changes after the position were dropped.
        """
        while True:
            page = self._page
            if page is not None and after < page.start:
                return await self._feed.read(self._scope, after)
            if page is not None and after < page.end:
                return replace(page, start=after, entries=[entry for entry in page.entries if entry.position > after])
            if page is not None and not page.more and self._count >= count:
                return FeedPage(after, after)
            await self._advance(after if page is None else page.end, count)

    async def _advance(self, after: LogPosition, count: int) -> None:
        """Read the next page once for all waiting watchers. The read is cancelled when none of them waits any more."""
        reading = self._reading
        if reading is None or reading.done() or reading.cancelling():
            # Use a separate context: the deadline of the first call must not apply to the others.
            context = Context()
            context.run(call_tenant.set, self._scope.tenant_id)
            loop = asyncio.get_running_loop()
            reading = loop.create_task(self._read(after, count), name="reader", context=context)
            reading.add_done_callback(_consume_exception)
            self._reading, self._waiting = reading, 0
        self._waiting += 1
        try:
            await asyncio.shield(reading)
        finally:
            if self._reading is reading:
                self._waiting -= 1
                if not self._waiting:
                    reading.cancel()  # has no effect if it is done

    async def _read(self, after: LogPosition, count: int) -> None:
        page = await self._feed.read(self._scope, after)
        self._pause_s = min(2 * self._pause_s, PENDING_S[1]) if page.pending and not page.entries else PENDING_S[0]
        self._page, self._count = page, count
        if page.pending and not page.more:
            self._signal.wake(self._pause_s)


def _consume_exception(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # retrieved here only to avoid a warning: the watchers that wait get it themselves


class SharedLogReaders:
    """The shared readers of all scopes that are watched."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._readers: dict[Scope, SharedLogReader] = {}

    @contextmanager
    def of(self, scope: Scope, signal: ChangeSignal) -> Iterator[SharedLogReader]:
        reader = self._readers.setdefault(scope, SharedLogReader(self._feed, scope, signal))
        reader.watchers += 1
        try:
            yield reader
        finally:
            reader.watchers -= 1
            if not reader.watchers:
                del self._readers[scope]
