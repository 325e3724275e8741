"""The steps of change log maintenance; background/change_log_maintenance.py schedules them.

Invariant: each step is its own transaction. A step that cannot get its locks at once gives up and changes nothing,
because other calls would queue behind it (migrations/sql/0003_changes.sql).
"""

from __future__ import annotations

from datetime import date, datetime

from .database import Database
from .statements import load
from .transaction import DedicatedConnection, Rows

SQL = load("log_keeping")
WEEKS_AHEAD = 4  # future weeks that have a partition already
BATCH = 10_000  # requests in one statement


async def keep_order(database: Database) -> bool:
    """Order new changes after all that the log holds, even if the database was restored into another cluster.

    Return whether it was. Call this before anything is written there.
    """
    return bool((await database.fetch(SQL["keep_order"], {}))[0]["moved"])


class MaintenanceSteps:
    """The maintenance steps for the log of all tenants, over a connection that holds the lease."""

    def __init__(self, connection: DedicatedConnection) -> None:
        self._connection = connection

    async def now(self) -> datetime:
        """Return the time by the database's clock. It is always asked for, because data is dropped by it."""
        now: datetime = (await self._connection.fetch(SQL["read_moment"], {}))[0]["moment"]
        return now

    async def missing_weeks(self, now: datetime) -> list[date]:
        """Return the Mondays of the weeks that need a partition at the time `now`."""
        values: dict[str, object] = {"moment": now, "ahead": WEEKS_AHEAD}
        return [row["monday"] for row in await self._connection.fetch(SQL["missing_weeks"], values)]

    async def add_partition(self, monday: date) -> int:
        """Create the partition of a week, and return how many changes had to be moved there."""
        return int((await self._connection.fetch(SQL["add_partition"], {"monday": monday}))[0]["moved"])

    async def drop_oldest_partition(self, before: datetime) -> str | None:
        """Drop the oldest partition if all of it is older than `before`; return its name, None if there is none."""
        dropped: str | None = (await self._connection.fetch(SQL["drop_oldest"], {"before": before}))[0]["dropped"]
        return dropped

    async def drop_responses(self, before: datetime) -> int:
        """Drop requests older than `before`, and return how many. If that is BATCH, there may be more."""
        values: dict[str, object] = {"before": before, "limit": BATCH}
        return int((await self._connection.fetch(SQL["forget_answers"], values))[0]["dropped"])

    async def open_transactions(self, before: datetime) -> Rows:
        """Return the transactions that have held back watchers since before `before`, oldest first.

        The columns are holder, database and since.
        """
        return await self._connection.fetch(SQL["open_transactions"], {"before": before})
