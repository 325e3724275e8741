"""The ends of logs, read once for all who watch them.

Watchers of one scope who have read to the end share what comes next: the first to want it reads it, the
others take it from there. Nothing but the last page is kept. Who is further behind reads on its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import replace

from ..store.change_log.feed import Feed, FeedPage, LogPosition, Scope
from ..store.transaction import call_tenant
from .change_signal import ChangeSignal

PENDING_S = (0.005, 0.25)  # the first and the longest pause before it is looked again for what was pending


class SharedLogReader:
    """The last page of one scope's log."""

    def __init__(self, feed: Feed, scope: Scope, waking: ChangeSignal) -> None:
        self.watchers = 0
        self._feed = feed
        self._scope = scope
        self._waking = waking
        self._page: FeedPage | None = None
        self._count = -1  # of wakes, when the page was read
        self._reading: asyncio.Task[None] | None = None
        self._waiting = 0  # watchers that wait for it
        self._pause_s = PENDING_S[0]

    async def read(self, after: LogPosition, count: int) -> FeedPage:
        """What comes after a place, as of the `count`-th wake. TokenExpiredError if that is gone."""
        while True:
            page = self._page
            if page is not None and after < page.start:
                return await self._feed.read(self._scope, after)
            if page is not None and after < page.end:
                return replace(page, start=after, entries=[entry for entry in page.entries if entry.place > after])
            if page is not None and not page.more and self._count >= count:
                return FeedPage(after, after)
            await self._advance(after if page is None else page.end, count)

    async def _advance(self, after: LogPosition, count: int) -> None:
        """Read the next page, once for all who wait for it. It is given up when nobody waits for it any more."""
        reading = self._reading
        if reading is None or reading.done() or reading.cancelling():
            # In a context of its own: the deadline of the call that happens to be first is not that of all.
            context = Context()
            context.run(call_tenant.set, self._scope.tenant_id)
            loop = asyncio.get_running_loop()
            reading = loop.create_task(self._read(after, count), name="tail", context=context)
            reading.add_done_callback(_consume_exception)
            self._reading, self._waiting = reading, 0
        self._waiting += 1
        try:
            await asyncio.shield(reading)
        finally:
            if self._reading is reading:
                self._waiting -= 1
                if not self._waiting:
                    reading.cancel()  # of no effect when it is done

    async def _read(self, after: LogPosition, count: int) -> None:
        page = await self._feed.read(self._scope, after)
        self._pause_s = min(2 * self._pause_s, PENDING_S[1]) if page.pending and not page.entries else PENDING_S[0]
        self._page, self._count = page, count
        if page.pending and not page.more:
            self._waking.wake(self._pause_s)


def _consume_exception(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # those who wait for it have it


class SharedLogReaders:
    """The tails that are watched."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._tails: dict[Scope, SharedLogReader] = {}

    @contextmanager
    def of(self, scope: Scope, waking: ChangeSignal) -> Iterator[SharedLogReader]:
        tail = self._tails.setdefault(scope, SharedLogReader(self._feed, scope, waking))
        tail.watchers += 1
        try:
            yield tail
        finally:
            tail.watchers -= 1
            if not tail.watchers:
                del self._tails[scope]
