"""The background task that builds, folds and deletes the tallies of statistics. Answers are exact meanwhile."""

from __future__ import annotations

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
        self.unfolded = Unfolded()  # after the last run of this process

    async def run(self, connection: DedicatedConnection) -> None:
        await self._tallies.work_off(connection)
        self.unfolded = await self._tallies.unfolded(connection)

    @property
    def built(self) -> int:
        """Return how many statistics this process has built."""
        return self._tallies.built

    def failed(self, error: Exception) -> None:
        structlog.get_logger().warning("tallies_failed", exc_info=error)
