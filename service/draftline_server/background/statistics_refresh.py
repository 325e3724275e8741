"""A refresh of the planner's statistics after imports were answered, once for all imports that ended in the meantime.

Best effort: autovacuum does the same within a minute or so, except for a partitioned table as a whole.
"""

from __future__ import annotations

import structlog

from ..store.advisory_locks import AdvisoryLock
from ..store.imports import analyze_records
from ..store.transaction import DedicatedConnection
from .leader import LeaderTask


class StatisticsRefresh(LeaderTask):
    """A task that runs when it is requested, because many records were changed."""

    name = "refresh statistics"
    lock = AdvisoryLock.STATISTICS
    waits = True  # the run of another process may have started before the request

    def __init__(self) -> None:
        super().__init__()
        self._tenant_ids: set[str] = set()

    def request_for(self, tenant_id: str) -> None:
        """Make the task due, for the records of this tenant."""
        self._tenant_ids.add(tenant_id)
        self.request()

    async def run(self, connection: DedicatedConnection) -> None:
        tenant_ids, self._tenant_ids = self._tenant_ids, set()
        await analyze_records(connection, tenant_ids)

    def failed(self, error: Exception) -> None:
        structlog.get_logger().warning("analyze_failed", reason=type(error).__name__)
