"""What the change log needs done to it from time to time; background/change_log_maintenance.py says when.

Invariants:
- One process at a time has the turn (an advisory lock, which ends with its connection).
- What is done in a turn is a transaction each. One that cannot have its locks at once gives
  up, for others wait behind it, and changes nothing (migrations/sql/0003_changes.sql).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, datetime

from .database import Database
from .statements import load
from .transaction import Rows, Session

SQL = load("log_keeping")
WEEKS_AHEAD = 4  # for which there are partitions already
BATCH = 10_000  # requests in one statement


class LogTurn:
    """A process's turn at the log of all tenants."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def now(self) -> datetime:
        """Return the time by the clock of the database, asked for: much is dropped by it."""
        moment: datetime = (await self._session.fetch(SQL["read_moment"], {}))[0]["moment"]
        return moment

    async def missing_weeks(self, moment: datetime) -> list[date]:
        """The Mondays of the weeks that need a partition at a moment."""
        values: dict[str, object] = {"moment": moment, "ahead": WEEKS_AHEAD}
        return [row["monday"] for row in await self._session.fetch(SQL["missing_weeks"], values)]

    async def add_partition(self, monday: date) -> int:
        """Makes the partition of a week; how many changes had to be moved there."""
        return int((await self._session.fetch(SQL["add_partition"], {"monday": monday}))[0]["moved"])

    async def drop_oldest(self, before: datetime) -> str | None:
        """Drops the oldest partition if all of it is older than `before`; its name, None if there is none."""
        dropped: str | None = (await self._session.fetch(SQL["drop_oldest"], {"before": before}))[0]["dropped"]
        return dropped

    async def forget_answers(self, before: datetime) -> int:
        """Drops requests from before a moment; how many. There may be more, if it was BATCH."""
        values: dict[str, object] = {"before": before, "limit": BATCH}
        return int((await self._session.fetch(SQL["forget_answers"], values))[0]["dropped"])

    async def open_transactions(self, before: datetime) -> Rows:
        """Those that keep changes from watchers since before a moment: holder, database and since, oldest first."""
        return await self._session.fetch(SQL["open_transactions"], {"before": before})


class LogKeeping:
    """Turns at the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_order(self) -> bool:
        """Lets what is written from now on stand behind all that the log holds, wherever the database was restored.

        True if it was, into another cluster. To be called before anything is written there.
        """
        return bool((await self._database.fetch(SQL["keep_order"], {}))[0]["moved"])

    async def take_turn(self, work: Callable[[LogTurn], Awaitable[None]]) -> bool:
        """Does `work`, unless another process has the turn: False."""

        async def alone() -> bool:
            async with self._database.session() as session:
                locked = bool((await session.fetch(SQL["try_lock_log"], {}))[0]["locked"])
                if locked:
                    await work(LogTurn(session))
                return locked

        return await self._database.translated(alone)
