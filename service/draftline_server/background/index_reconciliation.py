"""Completion of the index changes that an earlier process left unfinished. Lists are exact meanwhile."""

from __future__ import annotations

import structlog

from ..store.advisory_locks import AdvisoryLock
from ..store.collections.indexes import Indexes
from ..store.transaction import DedicatedConnection
from .leader import LeaderTask


class IndexReconciliation(LeaderTask):
    """A task that runs once, at the start of a process."""

    name = "reconcile indexes"
    lock = AdvisoryLock.INDEXES
    starts_at_once = True
    waits = True

    def __init__(self, indexes: Indexes) -> None:
        super().__init__()
        self._indexes = indexes

    async def run(self, connection: DedicatedConnection) -> None:
        await self._indexes.reconcile_by(connection)

    def failed(self, error: Exception) -> None:
        structlog.get_logger().warning("index_reconciliation_failed", exc_info=error)
