"""Change logs for the maintenance tests: weeks with and without a partition, and changes of any age."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
from draftline_server.background.change_log_maintenance import ChangeLogMaintenance
from draftline_server.background.leader import run_once
from draftline_server.store.change_log_maintenance import MaintenanceSteps
from draftline_server.store.database import Database
from draftline_server.store.leases import Leases
from draftline_server.store.transaction import DedicatedConnection

from support.log_capture import logged

WEEK = timedelta(weeks=1)
WEEKS = """
    SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS monday
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'draftline.change'::regclass AND c.relname <> 'change_default' ORDER BY monday
"""
PLACE = "SELECT ARRAY[dropped_xact, dropped_id] FROM draftline.change_log"
LOGGED = """
    INSERT INTO draftline.change (tenant_id, log_xact, change_id, collection, record_id, version, kind, source,
        edit, base, user_id, session_id, change_reason, created_at)
    VALUES ('t', $1, $2::bigint, 'films', $2::bigint::text, 1, 'UPDATE', 'PATCH_CONTENT', '{}', '{}', 'ada', '', '', $3)
"""
REQUEST = """
    INSERT INTO draftline.request (tenant_id, user_id, request_id, fingerprint, response, created_at)
    SELECT 't', 'ada', gen_random_uuid(), '', '', $2 FROM generate_series(1, $1::int)
"""
PATIENCE_S = 30


class Maintenance(ChangeLogMaintenance):
    """The maintenance of the log at times that a test chooses."""

    def __init__(self, database: Database, retention: timedelta | None = None) -> None:
        super().__init__(database, retention, 3600)
        self._leases = Leases(database)
        self._at: datetime | None = None

    async def run(self, connection: DedicatedConnection) -> None:
        assert self._at is not None
        await self.maintain(MaintenanceSteps(connection), self._at)

    async def turn(self, moment: datetime) -> bool:
        """Run once at a time; False if another process holds the lease."""
        self._at = moment
        return await run_once(self._leases, self)


def keeper_of(database: Database, retention: timedelta | None = None) -> Maintenance:
    return Maintenance(database, retention)


def monday_of(moment: datetime) -> date:
    return moment.date() - timedelta(days=moment.weekday())


def start_of(monday: date) -> datetime:
    return datetime(monday.year, monday.month, monday.day, tzinfo=UTC)


async def weeks(connection: asyncpg.Connection) -> list[date]:
    return [row["monday"] for row in await connection.fetch(WEEKS)]


async def unkept(connection: asyncpg.Connection) -> None:
    """Drop every weekly partition, as if maintenance had not run for weeks."""
    for monday in await weeks(connection):
        await connection.execute(f"DROP TABLE draftline.change_{monday:%Y%m%d}")


async def in_default(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM draftline.change_default"))


async def complaints(keeper: Maintenance, moment: datetime) -> list[dict[str, Any]]:
    """Run maintenance once and return its failures."""
    with logged() as events:
        await keeper.turn(moment)
    return [dict(event) for event in events if event["event"] == "maintenance_failed"]


async def quietly(keeper: Maintenance, moment: datetime) -> None:
    """Run maintenance once, and fail if any step fails."""
    assert await complaints(keeper, moment) == []


async def until(found: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await found():
                return
            await asyncio.sleep(0.01)


async def places(connection: asyncpg.Connection) -> list[int]:
    return [row[0] for row in await connection.fetch("SELECT log_xact FROM draftline.change ORDER BY log_xact")]
