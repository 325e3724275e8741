"""The background task that builds and deletes the entries of orders. Lists are exact meanwhile."""

from __future__ import annotations

import structlog

from ..store.advisory_locks import AdvisoryLock
from ..store.collections.old_indexes import drop_unneeded
from ..store.collections.order_entries import OrderEntries
from ..store.transaction import DedicatedConnection
from .leader import LeaderTask

INTERVAL_S = 15.0


class OrderEntriesTask(LeaderTask):
    """Finish what a PutCollection that was interrupted left, and delete the entries of orders that were dropped."""

    name = "keep order entries"
    lock = AdvisoryLock.ORDER_ENTRIES
    starts_at_once = True

    def __init__(self, entries: OrderEntries) -> None:
        super().__init__(INTERVAL_S)
        self._entries = entries

    async def run(self, connection: DedicatedConnection) -> None:
        await self._entries.work_off(connection)
        await drop_unneeded(connection)

    def failed(self, error: Exception) -> None:
        structlog.get_logger().warning("order_entries_failed", exc_info=error)
