"""Keeps the change log while the service runs: its order, its partitions, what is dropped of it and of requests.

Invariants:
- Nothing that goes wrong here reaches a call. It is told in the service's own log, and tried
  again at the next turn; until then changes go to change_default, and old ones stay.
- What is younger than the retention is never dropped, nor a request's answer that may still be asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from ..store.change_log_maintenance import BATCH, LogKeeping, LogTurn

ANSWERS_KEPT = timedelta(hours=24)
OPEN_TOO_LONG = timedelta(minutes=10)
PAUSE_S = 0.05  # between two batches, for the others' sake


class ChangeLogMaintenance:
    """Takes a turn at the log now and then; runs until it is cancelled."""

    def __init__(self, log: LogKeeping, retention: timedelta | None, interval_s: float) -> None:
        """`retention`: how long changes are kept; None: for ever."""
        self._log = log
        self._retention = retention
        self._interval_s = interval_s
        self.held_up = 0  # transactions that held up watchers at the last look
        self.failures = 0  # so far

    async def run(self) -> None:
        while True:
            await self.turn()
            await asyncio.sleep(self._interval_s)

    async def keep_order(self) -> None:
        """For a start, too, before anything is written: the database may have been restored from elsewhere."""
        try:
            if await self._log.keep_order():
                structlog.get_logger().warning("log_moved", reason="the database was restored into another cluster")
        except Exception as error:
            self._warn("keep_order", error)

    async def turn(self, moment: datetime | None = None) -> None:
        """Do what is due now, by the database's clock, or at a moment; what another process is at is left to it."""
        await self.keep_order()
        self.held_up = 0  # whoever has the turn counts them
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
            structlog.get_logger().info("log_partition_added", monday=str(monday), moved=moved)

    async def _drop_changes(self, turn: LogTurn, moment: datetime) -> None:
        if self._retention is None:
            return
        while dropped := await turn.drop_oldest(moment - self._retention):
            structlog.get_logger().info("log_partition_dropped", partition=dropped)

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
                "log_held_up", reason="watchers are shown nothing that was written since this transaction began",
                holder=row["holder"], database=row["database"], since=row["since"].isoformat(),
            )  # fmt: skip

    def _warn(self, step: str, error: Exception) -> None:
        self.failures += 1
        said = str(error).partition("\n")[0]  # without the details, which may hold contents
        structlog.get_logger().warning("log_not_kept", step=step, reason=f"{type(error).__name__}: {said}")
