"""Background tasks run in one process at a time, fail alone, and stop with their process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from draftline_server.background.leader import Leader, LeaderTask, run_once
from draftline_server.background.statistics_refresh import StatisticsRefresh
from draftline_server.domain.errors import DatabaseUnavailableError
from draftline_server.store.advisory_locks import AdvisoryLock
from draftline_server.store.database import Database
from draftline_server.store.leases import Leases
from draftline_server.store.statements import Statement
from draftline_server.store.transaction import DedicatedConnection
from support.log_capture import logged
from support.tenant_stores import connected

PID = Statement("pid", "SELECT pg_backend_pid() AS pid", ())
PATIENCE_S = 30


class Held(LeaderTask):
    """A task each run of which lasts until it is released."""

    name = "held"
    lock = AdvisoryLock.STATISTICS

    def __init__(self, interval_s: float | None = None) -> None:
        super().__init__(interval_s)
        self.started: asyncio.Queue[int] = asyncio.Queue()  # the process id of each run's connection
        self.released = asyncio.Semaphore(0)
        self.ended = 0
        self.failures: asyncio.Queue[Exception] = asyncio.Queue()

    async def run(self, connection: DedicatedConnection) -> None:
        try:
            self.started.put_nowait((await connection.fetch(PID, {}))[0]["pid"])
            await self.released.acquire()
        finally:
            self.ended += 1

    def failed(self, error: Exception) -> None:
        self.failures.put_nowait(error)


class Failing(Held):
    name = "failing"
    lock = AdvisoryLock.DRAFT_CHECK
    starts_at_once = True

    async def run(self, connection: DedicatedConnection) -> None:
        raise ValueError


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with connected(database_url) as opened:
        yield opened


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    async with connected(database_url) as opened:
        yield opened


@pytest.fixture(autouse=True)
async def patience() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE_S):
        yield


async def stopped(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_task_is_skipped_while_another_process_runs_it(database: Database, other: Database) -> None:
    task, skipped = Held(), Held()
    running = asyncio.create_task(run_once(Leases(database), task))
    await task.started.get()
    assert not await run_once(Leases(other), skipped)
    assert skipped.started.empty()
    task.released.release()
    assert await running
    skipped.released.release()
    assert await run_once(Leases(other), skipped)


@pytest.mark.parametrize("same_process", [True, False])
async def test_task_that_waits_runs_after_the_other_process(
    database: Database, other: Database, same_process: bool
) -> None:
    first, second = Held(), Held()
    second.waits = True
    leases = Leases(database)
    running = asyncio.create_task(run_once(leases, first))
    await first.started.get()
    waiting = asyncio.create_task(run_once(leases if same_process else Leases(other), second))
    for _ in range(10):
        await asyncio.sleep(0)
    assert second.started.empty()
    first.released.release()
    second.released.release()
    assert await running
    assert await waiting
    assert second.ended == 1


async def test_process_that_loses_its_connection_loses_the_lease(
    database: Database, other: Database, connection: Any
) -> None:
    task, successor = Held(), Held()
    running = asyncio.create_task(run_once(Leases(database), task))
    await connection.execute("SELECT pg_terminate_backend($1, 10000)", await task.started.get())
    assert not await running
    assert task.ended == 1
    assert isinstance(await task.failures.get(), DatabaseUnavailableError)
    successor.released.release()
    assert await run_once(Leases(other), successor)


async def test_leader_that_is_stopped_has_released_its_leases(database: Database, other: Database) -> None:
    task, successor = Held(0.001), Held()
    leading = asyncio.create_task(Leader(Leases(database), [task]).run())
    await task.started.get()
    await stopped(leading)
    assert task.ended == 1
    assert task.failures.empty()
    assert database.connections.in_use == 0
    successor.waits = True
    successor.released.release()
    assert await run_once(Leases(other), successor)


async def test_task_that_fails_runs_again_and_stops_no_other(database: Database) -> None:
    failing, task = Failing(0.001), Held(0.001)
    leading = asyncio.create_task(Leader(Leases(database), [failing, task]).run())
    for _ in range(2):
        assert isinstance(await failing.failures.get(), ValueError)
        task.released.release()
        await task.started.get()
    await stopped(leading)


async def test_requests_that_arrive_during_a_run_share_the_next_one(database: Database) -> None:
    task = Held()
    leading = asyncio.create_task(Leader(Leases(database), [task]).run())
    task.request()
    await task.started.get()
    for _ in range(3):
        task.request()
    task.released.release()
    await task.started.get()
    task.released.release()
    for _ in range(10):
        await asyncio.sleep(0)
    await stopped(leading)
    assert task.ended == 2
    assert task.started.empty()


async def test_refresh_of_statistics_that_fails_is_logged(database: Database, connection: Any) -> None:
    await connection.execute("ALTER TABLE draftline.record RENAME TO elsewhere")
    with logged() as events:
        assert not await run_once(Leases(database), StatisticsRefresh())
    assert [event["event"] for event in events] == ["analyze_failed"]
