"""A group waits for the callers of the group before it, and a call without company waits for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from draftline_server.background import lanes
from draftline_server.background.batcher import Batcher
from draftline_server.background.lanes import Call

LANE = ("acme", "films")
LONG_S = 3600.0


class Groups:
    """A batcher whose groups end when they are released. It keeps their sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.started = asyncio.Event()
        self.released = asyncio.Event()
        self._batcher = Batcher[int, int](self._send)

    async def _send(self, calls: Sequence[Call[int, int]]) -> None:
        self.sizes.append(len(calls))
        self.started.set()
        await self.released.wait()
        await asyncio.sleep(0.005)  # a group that takes no time is not waited for
        for call in calls:
            call.succeed(call.item)

    async def call(self, item: int, times: int = 1) -> None:
        for _ in range(times):
            assert await self._batcher.submit(LANE, item, item) == item


@pytest.fixture
async def groups(monkeypatch: pytest.MonkeyPatch) -> Groups:
    for name in ("SLOW_S", "MAX_SLOW_S"):  # a group that seems slow on a busy machine must not let the next one start
        monkeypatch.setattr(lanes, name, LONG_S)
    return Groups()


async def test_group_takes_the_callers_of_the_one_before(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "GATHER_SHARE", LONG_S)
    monkeypatch.setattr(lanes, "GATHER_S", LONG_S)
    async with asyncio.timeout(20), asyncio.TaskGroup() as callers:
        callers.create_task(groups.call(0, times=3))
        await groups.started.wait()
        for item in range(1, 5):
            callers.create_task(groups.call(item, times=2))
        await asyncio.sleep(0)
        groups.released.set()
    assert groups.sizes[:3] == [1, 5, 5]


async def test_group_waits_for_callers_that_do_not_return_for_a_while_only(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "GATHER_SHARE", LONG_S)
    groups.released.set()
    async with asyncio.timeout(20):
        await asyncio.gather(*(groups.call(item) for item in range(4)))
        await groups.call(9)
        await asyncio.gather(*(groups.call(item) for item in range(4)))
    assert sum(groups.sizes) == 9


async def test_caller_alone_never_waits_for_others(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "GATHER_SHARE", LONG_S)
    monkeypatch.setattr(lanes, "GATHER_S", LONG_S)
    groups.released.set()
    async with asyncio.timeout(20):
        await groups.call(0, times=5)
    assert groups.sizes == [1] * 5
