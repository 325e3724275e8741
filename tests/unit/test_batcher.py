"""Calls that are submitted together, when their task is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from draftline_server.background.batcher import Batcher
from draftline_server.background.lanes import Call, Submission


async def test_cancelled_calls_get_no_outcome_afterwards() -> None:
    sent: asyncio.Future[Call[str, str]] = asyncio.get_running_loop().create_future()

    async def send(calls: Sequence[Call[str, str]]) -> None:
        sent.set_result(calls[0])
        await asyncio.get_running_loop().create_future()

    outcomes: list[int] = []
    batcher: Batcher[str, str] = Batcher(send)
    both = [Submission("a", "a"), Submission("b", "b")]
    task = asyncio.create_task(batcher.submit_all(("acme", "films"), both, lambda index, _: outcomes.append(index)))
    first = await sent
    task.cancel()
    first.succeed("done")  # in the same turn of the loop, so that the callback of the result runs after the task
    await asyncio.wait([task])
    assert task.cancelled()
    for _ in range(5):
        await asyncio.sleep(0)
    assert outcomes == []
