"""Partitions of the log come and go while others read and write it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from draftline_server.store.change_log_maintenance import WEEKS_AHEAD
from draftline_server.store.database import Database
from support.aged_change_log import (
    LOGGED,
    PATIENCE_S,
    PLACE,
    WEEK,
    Maintenance,
    complaints,
    in_default,
    keeper_of,
    monday_of,
    places,
    quietly,
    start_of,
    unkept,
    until,
    weeks,
)
from support.tenant_changes import LoggedWorld
from support.tenant_stores import connected


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with connected(database_url) as opened:
        yield opened


@pytest.fixture
def world(database: Database) -> LoggedWorld:
    return LoggedWorld(database, "t")


async def test_partitions_are_made_as_weeks_pass(database: Database, connection: asyncpg.Connection) -> None:
    keeper, now = keeper_of(database), datetime.now(UTC)
    first = (await weeks(connection))[0]  # of the migration
    for later in (0, 1, 2, 11):
        moment = now + later * WEEK
        await quietly(keeper, moment)
        there = await weeks(connection)
        assert there[-WEEKS_AHEAD - 1 :] == [monday_of(moment + n * WEEK) for n in range(WEEKS_AHEAD + 1)]
        assert there[0] == first
        assert len(set(there)) == len(there)


@pytest.mark.parametrize(
    ("moment", "monday"),
    [
        ("2027-01-03T23:59:59.999999+00:00", date(2026, 12, 28)),
        ("2027-01-04T00:00:00+00:00", date(2027, 1, 4)),
        ("2027-01-04T00:30:00+02:00", date(2026, 12, 28)),
        ("2027-01-03T23:30:00-02:00", date(2027, 1, 4)),
    ],
)
async def test_weeks_begin_on_monday_by_utc(
    database: Database, connection: asyncpg.Connection, moment: str, monday: date
) -> None:
    await unkept(connection)
    at = datetime.fromisoformat(moment)
    await quietly(keeper_of(database), at)
    assert (await weeks(connection))[0] == monday
    await connection.execute(LOGGED, 1, 1, at)
    found = "SELECT relname FROM pg_class WHERE oid = (SELECT tableoid FROM draftline.change)"
    assert await connection.fetchval(found) == f"change_{monday:%Y%m%d}"


async def test_changes_that_nobody_made_room_for_are_written_listed_and_moved(
    database: Database, connection: asyncpg.Connection, world: LoggedWorld
) -> None:
    await unkept(connection)
    await world.create("1", {"a": 1})
    await world.patch("1", {"a": 2})
    before = await world.history("1")
    assert [each.version for each in before] == [1, 2]
    assert await in_default(connection) == 2
    # One from a clock that is far behind: the week that has it is made as well.
    await connection.execute(LOGGED, 77, 77, datetime(2020, 2, 29, tzinfo=UTC))
    await quietly(keeper_of(database), datetime.now(UTC))
    assert await in_default(connection) == 0
    assert (await weeks(connection))[0] == date(2020, 2, 24)
    assert await world.history("1") == before
    assert len(await weeks(connection)) == 1 + WEEKS_AHEAD + 1


@asynccontextmanager
async def writing(world: LoggedWorld, record_id: str) -> AsyncIterator[asyncio.Event]:
    """Patches a record one by one until the block ends; the event is set by each patch that is answered."""
    answered, done = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        n = 0
        while not done.is_set():
            n += 1
            await world.patch(record_id, {"n": n})
            answered.set()

    task = asyncio.create_task(write())
    try:
        yield answered
    finally:
        done.set()
        await asyncio.wait_for(task, PATIENCE_S)


async def next_one(answered: asyncio.Event, count: int = 3) -> None:
    for _ in range(count):
        answered.clear()
        await asyncio.wait_for(answered.wait(), PATIENCE_S)


async def test_changes_written_while_they_are_moved_are_all_there_once(
    database: Database, connection: asyncpg.Connection, world: LoggedWorld
) -> None:
    await unkept(connection)
    names = ["1", "2", "3", "4"]
    for name in names:
        await world.create(name, {})
    async with writing(world, "1") as one, writing(world, "2"), writing(world, "3"), writing(world, "4"):
        await next_one(one, 20)
        for _ in range(3):
            await until(lambda: is_kept(keeper_of(database), connection))
            await next_one(one)
            await unmake_partitions(connection)
            await next_one(one)
    for name in names:
        versions = [each.version for each in await world.history(name)]
        assert versions == list(range(1, (await world.record(name)).version + 1))


async def is_kept(keeper: Maintenance, connection: asyncpg.Connection) -> bool:
    """Run maintenance, and return whether all partitions exist; concurrent transactions may delay one."""
    await keeper.turn(datetime.now(UTC))
    return len(await weeks(connection)) == WEEKS_AHEAD + 1 and not await in_default(connection)


async def unmake_partitions(connection: asyncpg.Connection) -> None:
    """Puts all changes back to where they are when there is no partition for them."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE draftline.change IN ACCESS EXCLUSIVE MODE")
        for monday in await weeks(connection):
            name = f"draftline.change_{monday:%Y%m%d}"
            await connection.execute(f"ALTER TABLE draftline.change DETACH PARTITION {name}")
            await connection.execute(f"INSERT INTO draftline.change SELECT * FROM {name}")
            await connection.execute(f"DROP TABLE {name}")


async def old_changes(connection: asyncpg.Connection, newest: date, count: int) -> list[date]:
    """A change at the beginning and at the end of each of so many weeks; their Mondays, the newest last."""
    mondays = [newest - n * WEEK for n in reversed(range(count))]
    for n, monday in enumerate(mondays):
        if monday not in await weeks(connection):
            await connection.execute("SELECT draftline.add_change_partition($1)", monday)
        starts = start_of(monday)
        await connection.execute(LOGGED, 10 * n + 1, 10 * n + 1, starts)
        await connection.execute(LOGGED, 10 * n + 2, 10 * n + 2, starts + WEEK - timedelta(microseconds=1))
    return mondays


async def test_only_weeks_that_are_wholly_too_old_are_dropped(
    database: Database, connection: asyncpg.Connection
) -> None:
    now = datetime.now(UTC)
    mondays = await old_changes(connection, monday_of(now), 5)
    keeper = keeper_of(database, retention=timedelta(days=2))
    ends = start_of(mondays[1]) + WEEK  # of the second week: what was written at its end is two days old then
    moment = ends + timedelta(days=2)
    await quietly(keeper, moment - timedelta(microseconds=1))
    assert await places(connection) == [11, 12, 21, 22, 31, 32, 41, 42]
    assert await connection.fetchval(PLACE) == [2, 2]
    await quietly(keeper, moment)
    assert await places(connection) == [21, 22, 31, 32, 41, 42]
    assert await connection.fetchval(PLACE) == [12, 12]
    await quietly(keeper_of(database, retention=None), now + 520 * WEEK)
    assert await places(connection) == [21, 22, 31, 32, 41, 42]
    await quietly(keeper_of(database, retention=timedelta(days=90)), now + timedelta(days=83))
    assert await places(connection) == [31, 32, 41, 42]
    await quietly(keeper_of(database, retention=timedelta(days=90)), now + timedelta(days=90))
    assert await places(connection) == [41, 42]


async def test_floor_of_the_log_never_sinks(database: Database, connection: asyncpg.Connection) -> None:
    now = datetime.now(UTC)
    mondays = await old_changes(connection, monday_of(now) - WEEK, 3)
    # Written by a process whose clock was behind: high in the order, in an old week.
    await connection.execute(LOGGED, 1000, 1000, start_of(mondays[0]))
    keeper = keeper_of(database, retention=timedelta(days=2))
    for end in mondays[1:]:
        await quietly(keeper, start_of(end) + timedelta(days=2))
        assert await connection.fetchval(PLACE) == [1000, 1000]
    assert await places(connection) == [21, 22]


async def test_old_changes_that_fell_into_no_week_are_dropped_too(
    database: Database, connection: asyncpg.Connection
) -> None:
    now = datetime.now(UTC)
    await connection.execute(LOGGED, 5, 6, now - 20 * WEEK)
    await connection.execute(LOGGED, 7, 8, now - 2 * WEEK)
    await quietly(keeper_of(database, retention=timedelta(days=90)), now)
    assert await places(connection) == [7]
    assert await connection.fetchval(PLACE) == [5, 6]


@asynccontextmanager
async def reading(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction that has read the whole log and goes on."""
    async with connection.transaction(readonly=True):
        await connection.execute("SELECT count(*) FROM draftline.change")
        yield


async def test_long_reader_puts_off_a_drop_while_writers_go_on(
    database: Database, connection: asyncpg.Connection, world: LoggedWorld, database_url: str
) -> None:
    now = datetime.now(UTC)
    await old_changes(connection, monday_of(now) - 2 * WEEK, 1)
    await world.create("1", {})
    keeper, reader = keeper_of(database, retention=timedelta(days=2)), await asyncpg.connect(database_url)

    async def is_dropped() -> bool:
        await keeper.turn(now)
        return bool(await connection.fetchval(PLACE) == [2, 2])

    async with writing(world, "1") as answered:
        async with reading(reader):
            (complaint,) = await asyncio.wait_for(complaints(keeper, now), PATIENCE_S)
            assert complaint["step"] == "drop_changes"
            assert complaint["reason"] == "LockNotAvailableError: canceling statement due to lock timeout"
            await next_one(answered)
            assert (await places(connection))[:2] == [1, 2]
            assert await connection.fetchval(PLACE) == [0, 0]
        await until(is_dropped)
        await next_one(answered)
    assert min(await places(connection)) > 2
    await reader.close()


async def test_long_reader_puts_off_a_partition_while_writers_go_on(
    database: Database, connection: asyncpg.Connection, world: LoggedWorld, database_url: str
) -> None:
    now = datetime.now(UTC)
    await unkept(connection)
    await world.create("1", {})
    keeper, reader = keeper_of(database), await asyncpg.connect(database_url)
    async with writing(world, "1") as answered:
        async with reading(reader):
            (complaint,) = await asyncio.wait_for(complaints(keeper, now), PATIENCE_S)
            assert complaint["step"] == "add_partitions"
            await next_one(answered)
            assert await weeks(connection) == []
        await until(lambda: is_kept(keeper, connection))
        await next_one(answered)
    await reader.close()
