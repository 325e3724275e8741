"""Many watchers of one log share what is read of its end."""

from __future__ import annotations

import asyncio
from typing import Any

from draftline_server.background.change_signal import ChangeSignal
from draftline_server.background.shared_log_reader import SharedLogReader
from draftline_server.store.change_log.feed import FeedPage, LogPosition, Scope


class Pages:
    """A feed that answers when it is told to."""

    def __init__(self) -> None:
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.reads = 0

    async def read(self, scope: Scope, after: LogPosition) -> FeedPage:
        self.reads += 1
        self.asked.set()
        await self.answer.wait()
        return FeedPage(after, LogPosition(self.reads, 0))


async def test_watcher_that_comes_just_as_a_read_ends_has_the_next_one() -> None:
    pages: Any = Pages()
    tail, start = SharedLogReader(pages, Scope("acme"), ChangeSignal()), LogPosition(0, 0)

    async def comes_with_the_answer() -> FeedPage:
        await pages.answer.wait()
        assert pages.reads == 1
        return await tail.read(LogPosition(1, 0), 1)  # a wake later than what was read

    first = asyncio.create_task(tail.read(start, 0))
    await pages.asked.wait()
    second = asyncio.create_task(comes_with_the_answer())
    await asyncio.sleep(0)
    pages.answer.set()  # both go on in the same turn of the loop
    assert (await first).end > start
    assert (await second).end == LogPosition(2, 0)


async def test_read_ends_with_the_last_watcher_who_waits_for_it() -> None:
    pages: Any = Pages()
    tail, start = SharedLogReader(pages, Scope("acme"), ChangeSignal()), LogPosition(0, 0)
    first, second = (asyncio.create_task(tail.read(start, 0)) for _ in range(2))
    await pages.asked.wait()
    reading = tail._reading
    assert reading is not None
    first.cancel()
    await asyncio.wait([first])
    assert not reading.cancelling()  # the other one waits still
    second.cancel()
    await asyncio.wait([second])
    third = asyncio.create_task(tail.read(start, 0))
    await asyncio.wait([reading])
    assert reading.cancelled()
    pages.answer.set()
    assert (await third).end == LogPosition(2, 0)
