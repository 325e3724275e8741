"""The log is kept while the service runs: by one process at a time, in order, and without calls noticing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import draftline
import pytest
from draftline_server.background.change_log_maintenance import OPEN_TOO_LONG, RESPONSES_KEPT, ChangeLogMaintenance
from draftline_server.background.leader import Leader
from draftline_server.store.advisory_locks import AdvisoryLock
from draftline_server.store.change_log_maintenance import BATCH, WEEKS_AHEAD, keep_order
from draftline_server.store.database import Database
from draftline_server.store.leases import Leases
from draftline_server.store.revision import SchemaError
from draftline_server.store.transaction import DedicatedConnection
from support.aged_change_log import (
    LOGGED,
    REQUEST,
    WEEK,
    complaints,
    keeper_of,
    monday_of,
    places,
    quietly,
    unkept,
    until,
    weeks,
)
from support.log_capture import logged
from support.servers import serving
from support.tenant_changes import LoggedWorld
from support.tenant_stores import connected


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with connected(database_url) as opened:
        yield opened


@pytest.fixture
def world(database: Database) -> LoggedWorld:
    return LoggedWorld(database, "t")


async def test_two_keepers_at_once_do_not_collide(
    database: Database, connection: asyncpg.Connection, database_url: str
) -> None:
    now = datetime.now(UTC)
    await unkept(connection)
    await connection.execute(REQUEST, 3, now - timedelta(days=3))
    async with connected(database_url) as other:
        with logged() as events:
            await asyncio.gather(*(keeper_of(each, timedelta(days=2)).turn(now) for each in (database, other) * 3))
    assert {event["event"] for event in events} == {"change_log_partition_added"}
    assert [event["monday"] for event in events] == [str(monday_of(now + n * WEEK)) for n in range(WEEKS_AHEAD + 1)]
    assert await connection.fetchval("SELECT count(*) FROM draftline.request") == 0


async def test_turn_that_another_process_has_is_left_to_it(
    database: Database, connection: asyncpg.Connection, database_url: str
) -> None:
    await unkept(connection)

    async def meanwhile(_: DedicatedConnection) -> None:
        async with connected(database_url) as other:
            assert not await keeper_of(other).turn(datetime.now(UTC))
        assert await weeks(connection) == []

    assert await Leases(database).run(AdvisoryLock.CHANGE_LOG_MAINTENANCE, meanwhile)


async def test_requests_are_forgotten_after_a_day_and_not_before(
    database: Database, connection: asyncpg.Connection
) -> None:
    now = datetime.now(UTC)
    await connection.execute(REQUEST, 2 * BATCH + 1, now - RESPONSES_KEPT - timedelta(microseconds=1))
    await connection.execute(REQUEST, 2, now - RESPONSES_KEPT)
    await connection.execute(REQUEST, 1, now)
    await quietly(keeper_of(database), now)
    ages = [row["age"] for row in await connection.fetch("SELECT $1 - created_at AS age FROM draftline.request", now)]
    assert sorted(ages) == [timedelta(0), timedelta(hours=24), timedelta(hours=24)]


@pytest.mark.parametrize(
    "elsewhere",
    [
        "UPDATE draftline.change_log SET horizon = horizon + 1000000000000",  # where numbers are lower
        "UPDATE draftline.change_log SET cluster = cluster + 1",  # where they are others
    ],
)
async def test_order_is_kept_when_the_database_moves(
    database: Database, connection: asyncpg.Connection, world: LoggedWorld, elsewhere: str
) -> None:
    await keep_order(database)
    await world.create("1", {})
    # Written after the log was last kept, and before it was moved.
    horizon = await connection.fetchval("SELECT horizon FROM draftline.change_log")
    await connection.execute(elsewhere)
    last = 10**9 + await connection.fetchval("SELECT greatest(horizon, $1) FROM draftline.change_log", horizon)
    await connection.execute(LOGGED, last, 2, datetime.now(UTC))
    for _ in range(2):  # it may move more than once
        await connection.execute(elsewhere)
        with logged() as events:
            await keeper_of(database).keep_order()
        assert [event["event"] for event in events] == ["change_log_moved"]
        assert not await keep_order(database)
        assert await connection.fetchval("SELECT draftline.log_horizon()") > last
        await world.patch("1", {"n": last})
        await world.create(str(last), {})
        newest = await connection.fetch(
            "SELECT log_xact, record_id FROM draftline.change ORDER BY log_xact DESC LIMIT 2"
        )
        assert {row["record_id"] for row in newest} == {"1", str(last)}
        assert min(row["log_xact"] for row in newest) > last
        last = newest[0]["log_xact"]
        assert await connection.fetchval("SELECT draftline.log_horizon()") > last  # so that they are shown


async def test_order_of_a_database_that_did_not_move_stays(
    database: Database, connection: asyncpg.Connection, world: LoggedWorld
) -> None:
    for name in ("1", "2", "3"):
        await world.create(name, {})
        assert not await keep_order(database)
    assert await connection.fetchval("SELECT xact_offset FROM draftline.change_log") == 0


async def test_transaction_that_holds_up_the_log_is_told(
    database: Database, connection: asyncpg.Connection, world: LoggedWorld, database_url: str
) -> None:
    holder = await asyncpg.connect(database_url)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT pg_current_xact_id()")
    keeper, now = keeper_of(database), datetime.now(UTC)
    pid = f"pid {holder.get_server_pid()}"

    async def is_told(moment: datetime) -> bool:
        with logged() as events:
            await keeper.turn(moment)
        holders = [event["holder"] for event in events if event["event"] == "change_feed_blocked"]
        assert keeper.blocking_transactions == len(holders)
        return pid in holders

    assert not await is_told(now)
    assert await is_told(now + OPEN_TOO_LONG + timedelta(minutes=1))
    await transaction.rollback()
    assert not await is_told(now + OPEN_TOO_LONG + timedelta(minutes=1))
    await holder.close()


async def test_step_that_fails_is_told_and_keeps_nothing_else_from_being_done(
    database: Database, connection: asyncpg.Connection
) -> None:
    now = datetime.now(UTC)
    await unkept(connection)
    await connection.execute(f"CREATE TABLE draftline.change_{monday_of(now):%Y%m%d} (in_the_way int)")
    await connection.execute("ALTER TABLE draftline.change_log RENAME TO elsewhere")
    await connection.execute(REQUEST, 1, now - timedelta(days=2))
    keeper = keeper_of(database, timedelta(days=2))
    told = await complaints(keeper, now)
    assert keeper.failures == len(told)
    assert [(each["event"], each["step"], each["reason"].partition(":")[0]) for each in told] == [
        ("maintenance_failed", "keep_order", "UnforeseenError"),
        ("maintenance_failed", "add_partitions", "DuplicateTableError"),
    ]
    assert await connection.fetchval("SELECT count(*) FROM draftline.request") == 0


async def test_role_that_may_not_keep_the_order_does_not_serve(
    database: Database, connection: asyncpg.Connection
) -> None:
    role = f"t_{uuid.uuid4().hex}"
    await connection.execute(
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA draftline TO {role};"
        f" GRANT ALL ON ALL TABLES IN SCHEMA draftline TO {role}"
    )
    try:
        async with connected(f"{database.url}{'&' if '?' in database.url else '?'}options=-c%20role%3D{role}") as other:
            await keeper_of(other).keep_order()
            await connection.execute("UPDATE draftline.change_log SET cluster = cluster + 1")  # as after a restore
            with pytest.raises(SchemaError, match="as their owner"):
                await keeper_of(other).keep_order()
        with logged() as events:
            await keeper_of(database).keep_order()
        assert [event["event"] for event in events] == ["change_log_moved"]
    finally:
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_database_out_of_reach_is_told(database_url: str) -> None:
    gone = Database(database_url.replace("draftline_test_", "draftline_none_"))
    await gone.open()
    told = await complaints(keeper_of(gone), datetime.now(UTC))
    assert [each["step"] for each in told] == ["keep_order", "acquire_lease"]
    await gone.close()


async def is_kept(connection: asyncpg.Connection) -> bool:
    return len(await weeks(connection)) == WEEKS_AHEAD + 1


async def test_keeper_takes_turns_until_it_is_cancelled(database: Database, connection: asyncpg.Connection) -> None:
    task = asyncio.create_task(Leader(Leases(database), [ChangeLogMaintenance(database, None, 0.01)]).run())
    for _ in range(3):
        await unkept(connection)
        await until(lambda: is_kept(connection))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_server_keeps_the_log(database_url: str, connection: asyncpg.Connection) -> None:
    now = datetime.now(UTC)
    await unkept(connection)
    await connection.execute(LOGGED, 1, 1, now - 5 * WEEK)
    await connection.execute("UPDATE draftline.change_log SET horizon = 1000000000000")

    async def is_kept_and_dropped() -> bool:
        return await is_kept(connection) and 1 not in await places(connection)

    with serving(database_url, change_retention_days=7) as server:
        async with draftline.AsyncClient(server.address, tenant_id="acme") as client:
            await client.create_content("films", {}, record_id="1")
        await until(is_kept_and_dropped)
    # The order was kept before anything could be written.
    assert min(await places(connection)) > 1000000000000
