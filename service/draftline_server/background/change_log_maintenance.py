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

from ..store.change_log_maintenance import BATCH, LogKeeping, LogTurn

ANSWERS_KEPT = timedelta(hours=24)
OPEN_TOO_LONG = timedelta(minutes=10)
PAUSE_S = 0.05  # between two batches, to leave capacity for calls


class ChangeLogMaintenance:
    """A task that maintains the log periodically until it is cancelled."""

    def __init__(self, log: LogKeeping, retention: timedelta | None, interval_s: float) -> None:
        """Create the task. `retention`: how long changes are retained; None: forever."""
        self._log = log
        self._retention = retention
        self._interval_s = interval_s
        self.held_up = 0  # transactions that blocked the change feed at the last check
        self.failures = 0  # steps that failed so far

    async def run(self) -> None:
        while True:
            await self.turn()
            await asyncio.sleep(self._interval_s)

    async def keep_order(self) -> None:
        """Make new changes sort after all that the log holds, even if the database was restored into another cluster.

        Call it at startup as well, before anything is written.
        """
        try:
            if await self._log.keep_order():
                structlog.get_logger().warning(
                    "change_log_moved", reason="the database was restored into another cluster"
                )
        except Exception as error:
            self._warn("keep_order", error)

    async def turn(self, moment: datetime | None = None) -> None:
        """Run the steps that are due at `moment`, by default now by the database's clock.

        Do nothing if another process is already maintaining the log.
        """
        await self.keep_order()
        self.held_up = 0  # only the process that holds the lock counts them
        try:
            await self._log.take_turn(lambda turn: self._take(turn, moment))
        except Exception as error:
            self._warn("take_turn", error)

    async def _take(self, turn: LogTurn, moment: datetime | None) -> None:
        moment = moment or await turn.now()
        steps: list[Callable[[LogTurn, datetime], Awaitable[None]]] = [
            self._add_partitions, self._drop_changes, self._forget_answers, self._tell_open_transactions
        ]  # fmt: skip
        for step in steps:
            try:
                await step(turn, moment)
            except Exception as error:
                self._warn(step.__name__.lstrip("_"), error)

    async def _add_partitions(self, turn: LogTurn, moment: datetime) -> None:
        for monday in await turn.missing_weeks(moment):
            moved = await turn.add_partition(monday)
            structlog.get_logger().info("change_log_partition_added", monday=str(monday), moved=moved)

    async def _drop_changes(self, turn: LogTurn, moment: datetime) -> None:
        if self._retention is None:
            return
        while dropped := await turn.drop_oldest(moment - self._retention):
            structlog.get_logger().info("change_log_partition_dropped", partition=dropped)

    async def _forget_answers(self, turn: LogTurn, moment: datetime) -> None:
        while True:
            if await turn.forget_answers(moment - ANSWERS_KEPT) < BATCH:
                return
            await asyncio.sleep(PAUSE_S)

    async def _tell_open_transactions(self, turn: LogTurn, moment: datetime) -> None:
        rows = await turn.open_transactions(moment - OPEN_TOO_LONG)
        self.held_up = len(rows)
        for row in rows:
            structlog.get_logger().warning(
                "change_feed_blocked", reason="watchers do not receive changes made since this transaction began",
                holder=row["holder"], database=row["database"], since=row["since"].isoformat(),
            )  # fmt: skip

    def _warn(self, step: str, error: Exception) -> None:
        self.failures += 1
        said = str(error).partition("\n")[0]  # the first line only: the details may hold contents
        structlog.get_logger().warning("maintenance_failed", step=step, reason=f"{type(error).__name__}: {said}")
