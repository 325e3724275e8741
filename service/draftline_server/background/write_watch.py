"""A watch that logs when the database takes no writes, as a standby, and when it takes them again."""

from __future__ import annotations

import asyncio

import structlog

from ..store.database import Database

INTERVAL_S = 1.0


class WriteWatch:
    """A task that reads what the last probe of the database found, every INTERVAL_S until it is cancelled."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._was_read_only = False

    @property
    def warning(self) -> str:
        """A sentence that says why writes fail; empty if they do not."""
        return self._database.read_only_reason

    async def run(self) -> None:
        while True:
            self.check()
            await asyncio.sleep(INTERVAL_S)

    def check(self) -> None:
        """Log when the database has become read-only, and when it takes writes again."""
        warning, log = self.warning, structlog.get_logger()
        if warning and not self._was_read_only:
            log.warning("database_read_only", reason=warning)
        elif self._was_read_only and not warning:
            log.info("database_writable")
        self._was_read_only = bool(warning)
