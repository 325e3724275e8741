"""A watch that reports when PostgreSQL rejects writes because its disk is full."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from ..store.driver_errors import DISK_FULL
from ..store.query_stats import QueryTiming

RECENT_S = 60.0


class StorageWatch:
    """Counts statements that failed with SQLSTATE 53100. The disk is reported as full for RECENT_S after the last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed_at = float("-inf")
        self.failures = 0

    @property
    def warning(self) -> str:
        """A sentence while the disk of the database is full, else an empty string."""
        if self._clock() > self._failed_at + RECENT_S:
            return ""
        return "the disk of the database is full: writes fail until space is freed"

    def query_ended(self, query: QueryTiming) -> None:
        """Note the outcome of a statement. An observer of a QueryRunner."""
        if query.sqlstate != DISK_FULL:
            return
        if not self.warning:
            structlog.get_logger().error("storage_full", statement=query.name)
        self._failed_at = self._clock()
        self.failures += 1
