"""The metrics of what tables and the largest tenants use. No label has the name of a tenant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from .domain.errors import DraftlineError
from .store.database import Database
from .store.storage import LargeTenant, TablePart, read_largest_tenants, read_table_parts, summarized

READ_S = 300.0
REST = 100  # a reading that took t seconds is followed by a pause of at least REST * t
PARTITIONS = 100  # that have series of their own
RANKS = 5


class StorageSizes:
    """The sizes of tables and the largest tenants at the last reading."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.parts: Sequence[TablePart] = ()
        self.tenants: Sequence[LargeTenant] = ()

    async def run(self) -> None:
        """Read the sizes at once and then again and again, until cancelled."""
        while True:
            started = time.monotonic()
            await self.read()
            await asyncio.sleep(max(READ_S, REST * (time.monotonic() - started)))

    async def read(self) -> None:
        """Read the sizes. If that fails, the last ones stay."""
        try:
            self.parts = summarized(await read_table_parts(self._database), PARTITIONS)
            self.tenants = await read_largest_tenants(self._database, RANKS)
        except DraftlineError as error:
            structlog.get_logger().warning("storage_sizes_failed", reason=error.reason)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. docs/operations.md explains each."""
        labels = ["table", "partition"]
        size = GaugeMetricFamily("draftline_table_bytes", "Bytes of a table or partition.", labels=labels)
        dead = GaugeMetricFamily("draftline_table_dead_rows", "Rows that vacuum can remove.", labels=labels)
        unused = GaugeMetricFamily("draftline_table_unused_bytes", "Estimated bytes that no row needs.", labels=labels)
        for each in self.parts:
            size.add_metric([each.table, each.part], each.bytes)
            dead.add_metric([each.table, each.part], each.dead_rows)
            unused.add_metric([each.table, each.part], each.unused_bytes)
        records = GaugeMetricFamily(
            "draftline_largest_tenant_records", "Records of the largest tenants.", labels=["rank"]
        )
        content = GaugeMetricFamily(
            "draftline_largest_tenant_bytes", "Bytes of content of the largest tenants.", labels=["rank"]
        )
        for rank in range(RANKS):
            tenant = self.tenants[rank] if rank < len(self.tenants) else LargeTenant("", 0, 0)
            records.add_metric([str(rank + 1)], tenant.records)
            content.add_metric([str(rank + 1)], tenant.bytes)
        yield from (size, dead, unused, records, content)
