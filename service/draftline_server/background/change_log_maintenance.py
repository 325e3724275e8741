"""Maintenance of the change log while the service runs: its order, its partitions, and the deletion of expired changes
and request ids.

Invariants:
- A failure here never fails a call. It is logged, and the step is retried in the next run; until then changes go to
  change_default, and expired ones stay.
- A change that is younger than the retention is never dropped, nor is the stored response of a request that may still
  be retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from ..store.advisory_locks import AdvisoryLock
from ..store.change_log_maintenance import BATCH, MaintenanceSteps, keep_order
from ..store.database import Database
from ..store.driver_errors import UnforeseenError
from ..store.revision import INSUFFICIENT_PRIVILEGE, SchemaError
from ..store.transaction import DedicatedConnection
from .leader import LeaderTask

RESPONSES_KEPT = timedelta(hours=24)
OPEN_TOO_LONG = timedelta(minutes=10)
NOT_OWNER = (
    "the database was restored into another PostgreSQL cluster, and the role of DRAFTLINE_DATABASE_URL may not replace "
    "the functions that number new changes after the old ones: run `SELECT draftline.keep_log_order()` as their owner, "
    "and start the service again"
)
PAUSE_S = 0.05  # between two batches, to leave capacity for calls


async def ensure_order(database: Database) -> None:
    """Make new changes sort after all that the log holds, even if the database was restored into another cluster.

    Call it before anything is written. Raise SchemaError if the role may not: watches and statistics would miss what is
    written.
    """
    try:
        moved = await keep_order(database)
    except UnforeseenError as error:
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            raise SchemaError(NOT_OWNER) from error
        raise
    if moved:
        structlog.get_logger().warning("change_log_moved", reason="the database was restored into another cluster")


class ChangeLogMaintenance(LeaderTask):
    """A task that maintains the log at the start, and every `interval_s` after that."""

    name = "maintain change log"
    lock = AdvisoryLock.CHANGE_LOG_MAINTENANCE
    starts_at_once = True

    def __init__(self, database: Database, retention: timedelta | None, interval_s: float) -> None:
        """Create the task. `retention`: how long changes are retained; None: forever."""
        super().__init__(interval_s)
        self._database = database
        self._retention = retention
        self.blocking_transactions = 0  # transactions that blocked the change feed at the last check
        self.failures = 0  # steps that failed so far

    async def prepare(self) -> None:
        try:
            await self.keep_order()
        except SchemaError as error:
            self._failed("keep_order", error)
        self.blocking_transactions = 0  # only the process that holds the lease counts them

    async def keep_order(self) -> None:
        """Do as `ensure_order`, but only log an error other than SchemaError. Call it at startup as well."""
        try:
            await ensure_order(self._database)
        except SchemaError:
            raise
        except Exception as error:
            self._failed("keep_order", error)

    async def run(self, connection: DedicatedConnection) -> None:
        steps = MaintenanceSteps(connection)
        await self.maintain(steps, await steps.now())

    async def maintain(self, steps: MaintenanceSteps, now: datetime) -> None:
        """Run the steps that are due at the time `now`. A step that fails does not keep the others from running."""
        due: list[Callable[[MaintenanceSteps, datetime], Awaitable[None]]] = [
            self._add_partitions, self._drop_changes, self._drop_responses, self._report_open_transactions
        ]  # fmt: skip
        for step in due:
            try:
                await step(steps, now)
            except Exception as error:
                self._failed(step.__name__.lstrip("_"), error)

    async def _add_partitions(self, steps: MaintenanceSteps, now: datetime) -> None:
        for monday in await steps.missing_weeks(now):
            moved = await steps.add_partition(monday)
            structlog.get_logger().info("change_log_partition_added", monday=str(monday), moved=moved)

    async def _drop_changes(self, steps: MaintenanceSteps, now: datetime) -> None:
        if self._retention is None:
            return
        while dropped := await steps.drop_oldest_partition(now - self._retention):
            structlog.get_logger().info("change_log_partition_dropped", partition=dropped)

    async def _drop_responses(self, steps: MaintenanceSteps, now: datetime) -> None:
        while True:
            if await steps.drop_responses(now - RESPONSES_KEPT) < BATCH:
                return
            await asyncio.sleep(PAUSE_S)

    async def _report_open_transactions(self, steps: MaintenanceSteps, now: datetime) -> None:
        rows = await steps.open_transactions(now - OPEN_TOO_LONG)
        self.blocking_transactions = len(rows)
        for row in rows:
            structlog.get_logger().warning(
                "change_feed_blocked", reason="watchers do not receive changes made since this transaction began",
                holder=row["holder"], database=row["database"], since=row["since"].isoformat(),
            )  # fmt: skip

    def failed(self, error: Exception) -> None:
        self._failed("acquire_lease", error)

    def _failed(self, step: str, error: Exception) -> None:
        self.failures += 1
        message = str(error).partition("\n")[0]  # the first line only: the details may hold contents
        structlog.get_logger().warning("maintenance_failed", step=step, reason=f"{type(error).__name__}: {message}")
