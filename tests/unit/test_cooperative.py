"""Work that runs beside the block of `started`."""

from __future__ import annotations

import asyncio

import pytest
from draftline_server.rpc.cooperative import started


async def test_work_begins_before_the_block_and_gives_its_result() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    async with started(work()) as task:
        assert begun.is_set()
        go_on.set()
        assert await task == "done"


async def test_work_that_the_block_does_not_await_is_cancelled_before_the_block_ends() -> None:
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True

    with pytest.raises(LookupError):
        async with started(work()) as task:
            raise LookupError
    assert (ended, task.cancelled()) == (True, True)


async def test_error_of_the_work_is_raised_where_it_is_awaited() -> None:
    async def work() -> None:
        raise LookupError

    async with started(work()):
        await asyncio.sleep(0)
    with pytest.raises(LookupError):
        async with started(work()) as task:
            await task
