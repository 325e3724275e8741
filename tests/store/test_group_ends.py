"""Calls that end before their group does, and groups that end with their connection: nobody waits for ever, and what is
acknowledged is stored once.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from draftline_server.background import patch_batcher as group_commit
from draftline_server.concurrency.call_context import call_deadline
from draftline_server.domain.errors import DatabaseUnavailableError, DeadlineExceededError, DraftlineError
from draftline_server.domain.records import PatchResult, Request
from draftline_server.store.database import Database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batched_patches import Grouped, counting
from support.soak_scale import examples

PATIENCE_S = 20.0  # after which a call that hangs fails its test
LOCKED = "locked"
CREATING = """INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by,
    updated_at, updated_by) VALUES ($1, 'films', $2, '{}', 1, now(), 'bob', now(), 'bob')"""
IDS = ("1", "2", "3")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "SHARING", replace(group_commit.SHARING, lock_timeout_ms=20_000))


@pytest.fixture
async def grouped(database_url: str) -> AsyncIterator[Grouped]:
    """Over connections of its own, which may be lost."""
    database = Database(database_url)
    await database.open()
    yield Grouped(database)
    await database.close()


class Lock:
    """Is creating the record LOCKED: a group waits for that, here for long, and for a record that is there never."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def is_waited_for(self) -> None:
        """Returns when a statement waits for it."""
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with asyncio.timeout(PATIENCE_S):
            while not await self._connection.fetchval(waiting):
                await self._connection.execute("SELECT pg_stat_clear_snapshot()")  # kept for the whole transaction

    async def cut_those_who_wait(self) -> None:
        await self._connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )

    async def release(self) -> None:
        await self._connection.execute("ROLLBACK")


@asynccontextmanager
async def holding(grouped: Grouped) -> AsyncIterator[Lock]:
    connection = await asyncpg.connect(grouped.database.url)
    try:
        await connection.execute("BEGIN")
        await connection.execute(CREATING, grouped.actor.tenant_id, LOCKED)
        yield Lock(connection)
    finally:
        await connection.close()


async def in_one_group(grouped: Grouped, *calls: Any) -> list[asyncio.Task[PatchResult]]:
    """Start calls while another statement is held, then let it go, so that they share the next."""
    may_go = asyncio.Event()
    is_held = asyncio.Event()

    async def hold(entries: Any) -> None:
        is_held.set()
        await may_go.wait()

    await grouped.database.now()  # else each would ask for the time first
    grouped.applier.before = hold
    running_fetch = asyncio.create_task(grouped.patch(counting("first")))
    await is_held.wait()
    grouped.applier.before = None
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    may_go.set()
    await running_fetch
    return tasks


@settings(
    max_examples=examples(25),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    calls=st.lists(
        st.tuples(st.sampled_from(IDS), st.none() | st.integers(0, 30) | st.integers(0, 2_000)), min_size=2, max_size=40
    )
)
async def test_calls_given_up_at_any_moment_are_applied_once_or_not_at_all(
    database: Database, calls: list[tuple[str, int | None]]
) -> None:
    """Each counts; some are given up after so many turns of the loop."""
    grouped = Grouped(database)
    await database.now()

    async def call(record_id: str, turns: int | None) -> PatchResult:
        counted = asyncio.create_task(grouped.patch(counting(record_id)))
        for _ in range(turns or 0):
            await asyncio.sleep(0)
        if turns is not None:
            counted.cancel()
        return await counted

    async with asyncio.timeout(PATIENCE_S):
        results = await asyncio.gather(*(call(*each) for each in calls), return_exceptions=True)
        last = {record_id: await grouped.patch(counting(record_id)) for record_id in IDS}
    sent = Counter(record_id for record_id, _ in calls)
    for record_id in IDS:
        versions = [
            result.record.version
            for (called, _), result in zip(calls, results, strict=True)
            if called == record_id and isinstance(result, PatchResult) and result.record is not None
        ]
        assert versions == sorted(set(versions))
        applied = await grouped.number(record_id) - 1
        record = last[record_id].record
        assert record is not None
        assert record.version == applied + 1
        assert len(versions) <= applied <= sent[record_id]
    assert {type(result) for result in results} <= {PatchResult, asyncio.CancelledError}


async def test_call_that_is_given_up_does_not_wait_for_its_group(grouped: Grouped) -> None:
    async with holding(grouped) as lock:
        stuck, *others = await in_one_group(
            grouped, grouped.patch(counting(LOCKED)), *(grouped.patch(counting(record_id)) for record_id in IDS)
        )
        await lock.is_waited_for()
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        assert not any(other.done() for other in others)
        await lock.release()
        async with asyncio.timeout(PATIENCE_S):
            results = await asyncio.gather(*others)
    assert [result.record.version for result in results if result.record] == [1, 1, 1]
    assert grouped.applier.groups[-1] == [LOCKED, *IDS]


async def test_group_whose_time_is_over_is_told_so_and_not_applied(grouped: Grouped) -> None:
    async with holding(grouped) as lock:

        async def hurried(record_id: str) -> PatchResult:
            call_deadline.set(time.monotonic() + 0.3)
            return await grouped.patch(counting(record_id))

        tasks = await in_one_group(grouped, *(hurried(record_id) for record_id in (LOCKED, *IDS)))
        async with asyncio.timeout(PATIENCE_S):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {DeadlineExceededError}
        await lock.release()
        async with asyncio.timeout(PATIENCE_S):
            await grouped.patch(counting("after"))
    stored = {row["record_id"]: row["content"]["n"] for row in await grouped.stored()}
    assert stored == {"first": 1, "after": 1}


async def test_cut_group_happens_once_for_requests_and_is_unavailable_to_others(grouped: Grouped) -> None:
    def request() -> Request:
        return Request(str(uuid.uuid4()), hashlib.blake2b(digest_size=16))

    async with holding(grouped) as lock:
        tasks = await in_one_group(
            grouped,
            grouped.patch(counting(LOCKED), request()),
            *(grouped.patch(counting(record_id), request()) for record_id in IDS),
            *(grouped.patch(counting(f"no request {record_id}")) for record_id in IDS),
        )
        await lock.is_waited_for()
        await lock.cut_those_who_wait()
        await lock.release()
        async with asyncio.timeout(PATIENCE_S):
            results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [PatchResult] * 4 + [DatabaseUnavailableError] * 3
    stored = {row["record_id"]: row["content"]["n"] for row in await grouped.stored()}
    assert stored == {"first": 1, LOCKED: 1, **dict.fromkeys(IDS, 1)}


async def test_end_of_the_database_answers_every_call(grouped: Grouped) -> None:
    async with holding(grouped) as lock:
        tasks = await in_one_group(
            grouped,
            *(grouped.patch(counting(LOCKED)) for _ in range(3)),
            *(grouped.patch(counting(str(n))) for n in range(200)),
        )
        await lock.is_waited_for()
        await grouped.database.close(timeout_s=0.1)
        async with asyncio.timeout(PATIENCE_S):
            results = await asyncio.gather(*tasks, return_exceptions=True)
    assert LOCKED in grouped.applier.groups[1]
    assert all(isinstance(result, DraftlineError | PatchResult) for result in results), results
    assert all(isinstance(result, DraftlineError) for result in results[:3])
