"""A patch that has to wait, or takes long, holds up no other of its group, and what it does is the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.edits import Operation
from draftline_server.domain.errors import DeadlineExceededError, DraftlineError, RecordNotFoundError
from draftline_server.domain.records import Operations, Patch, PatchResult
from draftline_server.store.database import Database
from draftline_server.store.in_place_patches import PatchEntry
from draftline_server.store.pool_settings import PoolSettings
from support.batched_patches import Grouped, counting

PATIENCE_S = 20.0  # after which a call that hangs fails its test
IDS = ("1", "2", "3")
INSERT = """INSERT INTO draftline.record (tenant_id, collection, record_id, content, version,
    created_at, created_by, updated_at, updated_by)
    VALUES ($1, 'films', $2, '{"n": 7}', 1, now(), 'bob', now(), 'bob')"""
DRAFT = """INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version,
    merged, version, session_id, change_reason, created_at, updated_at)
    SELECT $1, 'u' || g, 'films', $2, 'CHANGE', '{"s": {"a": 1}}', '{"r": ["a"]}', 1, '{"a": 1, "n": 1}', 1, '', '',
        now(), now() FROM generate_series(1, $3::int) AS g"""
LOCK_RECORD = "SELECT FROM draftline.record WHERE tenant_id = $1 AND record_id = $2 FOR UPDATE"
LOCK_DRAFTS = "SELECT FROM draftline.draft WHERE tenant_id = $1 AND record_id = $2 FOR UPDATE"


@pytest.fixture
async def grouped(database_url: str) -> AsyncIterator[Grouped]:
    database = Database(database_url, PoolSettings(size=8))
    await database.open()
    yield Grouped(database)
    await database.close()


@asynccontextmanager
async def beside(grouped: Grouped, sql: str, *arguments: object) -> AsyncIterator[Any]:
    """A transaction elsewhere that has done this; the caller ends it, or it is rolled back."""
    connection = await asyncpg.connect(grouped.database.url)
    try:
        await connection.execute("BEGIN")
        await connection.execute(sql, grouped.actor.tenant_id, *arguments)
        yield connection
    finally:
        await connection.close()


async def in_one_group(grouped: Grouped, *patches: Patch) -> list[asyncio.Task[PatchResult]]:
    """Starts patches while another statement is under way, so that they share the next."""
    await grouped.database.now()  # else each would ask for the time first
    running_fetch = asyncio.create_task(grouped.patch(counting("first")))
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(grouped.patch(patch)) for patch in patches]
    await running_fetch
    return tasks


async def answered(tasks: Sequence[asyncio.Task[PatchResult]]) -> list[int]:
    """The versions that patches made."""
    async with asyncio.timeout(PATIENCE_S):
        return [result.record.version for result in await asyncio.gather(*tasks) if result.record is not None]


async def is_waited_for(connection: Any) -> None:
    """Returns when a statement waits for what the connection holds."""
    waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
    async with asyncio.timeout(PATIENCE_S):
        while not await connection.fetchval(waiting):
            pass


async def test_patch_of_a_free_record_is_answered_while_one_of_its_group_is_locked(grouped: Grouped) -> None:
    await grouped.patch(counting("locked"))
    async with beside(grouped, LOCK_RECORD, "locked") as other:
        stuck, *free = await in_one_group(grouped, *map(counting, ("locked", *IDS)))
        assert await answered(free) == [1, 1, 1]
        assert grouped.applier.groups[2] == ["locked", *IDS]
        assert not stuck.done()
        await other.execute("COMMIT")
        assert await answered([stuck]) == [2]


async def test_patch_is_answered_while_a_draft_over_another_of_its_group_is_locked(grouped: Grouped) -> None:
    await grouped.patch(counting("drafted"))
    async with beside(grouped, DRAFT, "drafted", 2) as connection:
        await connection.execute("COMMIT")
    async with beside(grouped, LOCK_DRAFTS, "drafted") as other:
        stuck, *free = await in_one_group(grouped, *map(counting, ("drafted", *IDS)))
        assert await answered(free) == [1, 1, 1]
        assert not stuck.done()
        await other.execute("COMMIT")
        assert await answered([stuck]) == [2]
    async with beside(grouped, "SELECT $1::text") as connection:
        merged = await connection.fetch("SELECT merged::text FROM draftline.draft")
    assert [row["merged"] for row in merged] == ['{"a": 1, "n": 2}'] * 2


@pytest.mark.parametrize(("end", "version", "number"), [("COMMIT", 2, 8), ("ROLLBACK", 1, 1)])
async def test_record_that_another_is_creating_is_created_or_patched_once_that_is_over(
    grouped: Grouped, end: str, version: int, number: int
) -> None:
    async with beside(grouped, INSERT, "new") as other:
        stuck, *free = await in_one_group(grouped, *map(counting, ("new", *IDS)))
        assert await answered(free) == [1, 1, 1]
        assert not stuck.done()
        await is_waited_for(other)
        await other.execute(end)
        assert await answered([stuck]) == [version]
    assert await grouped.number("new") == number


async def test_record_that_is_not_there_is_told_from_one_that_is_locked(grouped: Grouped) -> None:
    change = Operations([Operation("increment", ("n",), value=1)])
    await grouped.patch(counting("locked"))
    async with beside(grouped, LOCK_RECORD, "locked") as other:
        stuck, absent, free = await in_one_group(
            grouped, Patch("films", "locked", change), Patch("films", "absent", change), counting("free")
        )
        with pytest.raises(RecordNotFoundError):
            await absent
        assert await answered([free]) == [1]
        assert not stuck.done()
        await other.execute("COMMIT")
        assert await answered([stuck]) == [2]


async def test_later_patches_of_a_record_do_not_overtake_one_that_waits(grouped: Grouped) -> None:
    await grouped.patch(counting("locked"))
    async with beside(grouped, LOCK_RECORD, "locked") as other:
        (first,) = await in_one_group(grouped, counting("locked"))
        await is_waited_for(other)
        later = [asyncio.create_task(grouped.patch(counting("locked"))) for _ in range(5)]
        assert await answered([asyncio.create_task(grouped.patch(counting("free")))]) == [1]
        await other.execute("COMMIT")
        assert await answered([first, *later]) == [2, 3, 4, 5, 6, 7]


async def test_those_who_wait_leave_connections_to_others(grouped: Grouped) -> None:
    """Twelve wait, over a pool of eight connections."""
    locked = [f"locked {number}" for number in range(12)]
    await asyncio.gather(*(grouped.patch(counting(each)) for each in locked))
    async with beside(grouped, "SELECT FROM draftline.record WHERE tenant_id = $1 FOR UPDATE") as other:
        stuck = await in_one_group(grouped, *map(counting, locked))
        await is_waited_for(other)
        for turn in range(5):
            free = [asyncio.create_task(grouped.patch(counting(f"{turn} {each}"))) for each in IDS]
            assert await answered(free) == [1, 1, 1]
        assert not any(each.done() for each in stuck)
        assert grouped.database.connections.in_use <= 8 // 4
        await other.execute("COMMIT")
        assert await answered(stuck) == [2] * 12


def unions(record_id: str, steps: int, values: int = 1) -> Patch:
    change = [Operation("union", ("seen",), value=[[step, value] for value in range(values)]) for step in range(steps)]
    return Patch("films", record_id, Operations(change), allow_missing=True)


@pytest.mark.parametrize("expensive", [unions("long", 65), unions("long", 1, 65)], ids=["operations", "values"])
async def test_patch_of_many_steps_is_sent_alone(grouped: Grouped, expensive: Patch) -> None:
    tasks = await in_one_group(grouped, expensive, *map(counting, IDS))
    assert await answered(tasks) == [1, 1, 1, 1]
    assert sorted(grouped.applier.groups[1:]) == [["1", "2", "3"], ["long"]]


async def test_patch_of_a_large_record_over_many_steps_is_sent_alone(grouped: Grouped) -> None:
    values = [number * 7919 for number in range(9_000)]
    await grouped.patch(
        Patch("films", "large", Operations([Operation("add", ("seen",), value=values)]), allow_missing=True)
    )
    tasks = await in_one_group(grouped, unions("large", 30), *map(counting, IDS))
    assert await answered(tasks) == [2, 1, 1, 1]
    assert grouped.applier.groups[-2:] == [["large", *IDS], ["large"]]


async def test_patch_of_a_record_with_many_drafts_is_sent_alone(grouped: Grouped) -> None:
    await grouped.patch(counting("drafted"))
    async with beside(grouped, DRAFT, "drafted", 20) as connection:
        await connection.execute("COMMIT")
    tasks = await in_one_group(grouped, *map(counting, ("drafted", *IDS)))
    assert await answered(tasks) == [2, 1, 1, 1]
    assert grouped.applier.groups[-2:] == [["drafted", *IDS], ["drafted"]]


async def test_group_that_took_too_long_fails_no_patch_whose_time_is_not_over(grouped: Grouped) -> None:
    async def cancel(entries: Sequence[PatchEntry]) -> None:
        if "2" in [entry.patch.record_id for entry in entries]:
            raise DeadlineExceededError("the database took too long") from asyncpg.QueryCanceledError()

    await grouped.patch(counting("before"))
    grouped.applier.before = cancel
    tasks = await in_one_group(grouped, *map(counting, IDS))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, DraftlineError) for result in results] == [False, True, False]
