"""The workers of syncs in this process, until a signal stops them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from ..background.change_log_maintenance import ensure_order
from ..background.change_signal import ChangeSignals
from ..background.notifier import Notifier
from ..observability.http_endpoints import serving_metrics
from ..observability.logs import dropped_lines
from ..observability.metrics import Gauge, Metrics
from ..observability.telemetry import Telemetry
from ..ops.signals import stop_by_signal
from ..settings import Settings
from ..store.database import Database
from ..store.json_schema.pool import Schemas
from ..store.notifications import Notifications
from ..store.revision import check_privileges, check_revision
from ..sync.counters import SyncCounters
from ..sync_metrics import SyncBacklog, SyncMetrics
from ..sync_workers import sync_runner
from ..wiring import metrics_address, pool_settings

PING_S = 1.0
UNREACHABLE_AFTER_S = 5.0


async def run(settings: Settings, url: str, revision: str, *, started: Callable[[int | None], None]) -> None:
    """Run workers for the syncs of the database at `url` until SIGTERM or SIGINT. Its schema must be at `revision`.

    `started` is called with the port of the metrics, or None if they are not served.
    """
    stop = stop_by_signal()
    database, schemas = Database(url, pool_settings(settings.database)), Schemas(settings.limits.json_schema_timeout_s)
    wakes = ChangeSignals()
    notifier = Notifier(Notifications(url, settings.database.pool_connect_timeout_s), wakes)
    await database.open(checked=True)
    try:
        await check_revision(database, revision)
        await check_privileges(database)
        await ensure_order(database)
        database.expect_revision(revision)
        counters, backlog, reachable = SyncCounters(), SyncBacklog(database), Reachable(database)
        metrics = _metrics(database, reachable, SyncMetrics(counters, backlog))
        async with (
            sync_runner(settings, database, schemas, wakes, counters) as runner,
            serving_metrics(metrics.text, reachable.is_ready, metrics_address(settings.metrics)) as metrics_port,
        ):
            works = (runner.run(), notifier.run(), reachable.run(), backlog.run())
            tasks = [asyncio.create_task(work) for work in works]
            started(metrics_port)
            try:
                await stop.wait()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await schemas.close()
        await database.close()


class Reachable:
    """Registers the process as a running service, and notes whether the database responds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._responded_at = time.monotonic()

    @property
    def is_reachable(self) -> bool:
        return time.monotonic() - self._responded_at < UNREACHABLE_AFTER_S

    async def is_ready(self) -> bool:
        return self.is_reachable

    async def run(self) -> None:
        """Read the clock of the database every second, until cancelled."""
        while True:
            with suppress(Exception):  # the workers report that the database is unreachable
                await self._database.ping()
                self._responded_at = time.monotonic()
            await asyncio.sleep(PING_S)


def _metrics(database: Database, reachable: Reachable, syncs: SyncMetrics) -> Metrics:
    telemetry, connections = Telemetry(), database.connections
    database.runner.observers.append(telemetry.record_query)
    gauges = [
        Gauge("draftline_database_reachable", "1 while the database responds, else 0.", lambda: reachable.is_reachable),
        Gauge("draftline_pool_size", "Maximum database connections in the pool.", lambda: database.settings.size),
        Gauge("draftline_pool_in_use", "Database connections in use.", lambda: connections.in_use),
        Gauge("draftline_pool_waiting", "Requests waiting for a database connection.", lambda: connections.waiting),
        Gauge(
            "draftline_pool_exhausted_total",
            "Requests that got no database connection in time.",
            lambda: connections.exhausted,
        ),
        Gauge(
            "draftline_log_lines_dropped_total",
            "Log lines dropped because standard error was not read fast enough.",
            dropped_lines,
        ),
    ]
    return Metrics(telemetry, gauges, syncs.collect)
