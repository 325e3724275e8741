"""The background task that builds, folds and deletes the tallies of statistics. Answers are exact meanwhile."""

from __future__ import annotations

import structlog

from ..store.advisory_locks import AdvisoryLock
from ..store.collections.tallies import Tallies
from ..store.transaction import DedicatedConnection
from .leader import LeaderTask

INTERVAL_S = 60.0  # a run counts the rows of all tallies


class TalliesTask(LeaderTask):
    """Fold tallies, finish what a PutCollection that was interrupted left, and delete statistics that were dropped."""

    name = "keep tallies"
    lock = AdvisoryLock.TALLIES
    starts_at_once = True

    def __init__(self, tallies: Tallies) -> None:
        super().__init__(INTERVAL_S)
        self._tallies = tallies

    async def run(self, connection: DedicatedConnection) -> None:
        await self._tallies.work_off(connection)

    def failed(self, error: Exception) -> None:
        structlog.get_logger().warning("tallies_failed", exc_info=error)
