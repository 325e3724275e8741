"""The background task that builds, folds and deletes the tallies of statistics. Answers are exact meanwhile."""

from __future__ import annotations

import time
from dataclasses import replace

import structlog

from ..store.advisory_locks import AdvisoryLock
from ..store.collections.tallies import Tallies, Unfolded
from ..store.transaction import DedicatedConnection
from .leader import LeaderTask

INTERVAL_S = 5.0  # a run counts the rows that writes have appended since the last fold


class TalliesTask(LeaderTask):
    """Fold tallies, finish what a PutCollection that was interrupted left, and delete statistics that were dropped."""

    name = "keep tallies"
    lock = AdvisoryLock.TALLIES
    starts_at_once = True

    def __init__(self, tallies: Tallies) -> None:
        super().__init__(INTERVAL_S)
        self._tallies = tallies
        self._measured = Unfolded()
        self._measured_at = 0.0
        self._is_running = False

    async def run(self, connection: DedicatedConnection) -> None:
        self._is_running = True
        try:
            await self._measure(connection)
            await self._tallies.work_off(connection)
            await self._measure(connection)
        finally:
            self._is_running = False

    async def _measure(self, connection: DedicatedConnection) -> None:
        self._measured = await self._tallies.unfolded(connection)
        self._measured_at = time.monotonic()

    @property
    def unfolded(self) -> Unfolded:
        """Return what is to be folded, as this process measured it, also while a run fails or waits.

        Nothing, once another process has the lease.
        """
        elapsed_s = time.monotonic() - self._measured_at
        if not self._is_running and elapsed_s > 2 * INTERVAL_S:
            return Unfolded()
        measured = self._measured
        return replace(measured, age_s=measured.age_s + elapsed_s) if measured.age_s else measured

    @property
    def built(self) -> int:
        """Return how many statistics this process has built."""
        return self._tallies.built

    def failed(self, error: Exception) -> None:
        structlog.get_logger().warning("tallies_failed", exc_info=error)
