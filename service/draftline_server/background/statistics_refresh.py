"""A refresh of the planner's statistics after imports were answered, once for all imports that ended in the meantime.

Best effort: autovacuum does the same within a minute or so.
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

    async def run(self, connection: DedicatedConnection) -> None:
        await analyze_records(connection)

    def failed(self, error: Exception) -> None:
        structlog.get_logger().warning("analyze_failed", reason=type(error).__name__)
