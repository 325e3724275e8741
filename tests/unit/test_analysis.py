"""The planner is told of imports after they were answered."""

from __future__ import annotations

import asyncio

from draftline_server.background.statistics_refresh import Analysis
from support.log_capture import logged


async def test_imports_that_end_while_it_runs_are_told_of_together_once_more() -> None:
    runs: list[asyncio.Future[None]] = []

    async def analyze() -> None:
        runs.append(asyncio.get_running_loop().create_future())
        await runs[-1]

    analysis = Analysis(analyze)
    running = asyncio.create_task(analysis.run())
    await asyncio.sleep(0)
    assert runs == []
    analysis.want()
    await settled()
    assert len(runs) == 1
    for _ in range(3):
        analysis.want()
    await settled()
    assert len(runs) == 1
    runs[0].set_result(None)
    await settled()
    assert len(runs) == 2
    runs[1].set_result(None)
    await settled()
    assert len(runs) == 2
    running.cancel()


async def test_failure_is_logged_and_the_next_import_is_told_of() -> None:
    runs = 0

    async def analyze() -> None:
        nonlocal runs
        runs += 1
        raise TimeoutError

    analysis = Analysis(analyze)
    running = asyncio.create_task(analysis.run())
    with logged() as events:
        for _ in range(2):
            analysis.want()
            await settled()
    assert runs == 2
    assert [(each["event"], each["reason"]) for each in events] == [("analyze_failed", "TimeoutError")] * 2
    running.cancel()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
