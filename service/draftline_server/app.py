"""The composition root: the only module that creates and wires the components."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from .background.change_log_maintenance import ChangeLogMaintenance
from .background.change_signal import ChangeSignals
from .background.clock_watch import ClockWatch
from .background.draft_integrity import DraftCheck
from .background.leader import Leader, LeaderTask
from .background.notifier import Notifier
from .background.order_entries import OrderEntriesTask
from .background.statistics_refresh import StatisticsRefresh
from .background.storage_watch import StorageWatch
from .background.tallies import TalliesTask
from .background.tenant_usage import QuotaWatch, TenantCount
from .background.write_watch import WriteWatch
from .domain.errors import DraftlineError
from .gauges import gauges_of
from .observability.access_log import AccessLog, Logged, slow_statements
from .observability.access_log_writer import AccessLogWriter
from .observability.http_endpoints import serving_metrics
from .observability.logs import dropped_lines
from .observability.metrics import Metrics
from .observability.telemetry import Telemetry
from .observability.tracing import exporting_spans
from .rpc.condition_warnings import ConditionWarnings
from .rpc.idempotency import IdempotencyLayer
from .rpc.server import SERVICES, Server
from .rpc.services.health import Health
from .rpc.tls import Tls
from .services import Services, build_services
from .settings import Settings
from .storage_metrics import StorageSizes
from .store.collections.order_entries import OrderEntries
from .store.collections.tallies import Tallies
from .store.database import Database
from .store.draft_integrity import DraftChecker
from .store.json_schema.pool import Schemas
from .store.leases import Leases
from .store.notifications import Notifications
from .store.pool_settings import connections_of
from .store.quotas import Quotas
from .store.revision import CONNECTIONS_FIX, check_privileges, check_revision, read_usable_connections
from .sync.counters import SyncCounters
from .sync_metrics import SyncBacklog, SyncMetrics
from .sync_workers import runs_inline, sync_runner
from .wiring import authenticator, metrics_address, pool_settings, quota_options, server_options, tls_files

__all__ = ["App", "running"]


@dataclass(frozen=True, slots=True)
class App:
    """A running service. It listens on `address`; `metrics_port` is None if it serves no metrics on a port."""

    address: str
    metrics_port: int | None
    server: Server
    database: Database


@asynccontextmanager
async def running(
    settings: Settings, url: str, revision: str, *, worker: int = 0, metrics_socket: Path | None = None
) -> AsyncIterator[App]:
    """Serve the database at `url`, whose schema must be at `revision`, during the block; drain calls at its end.

    `worker` is the number, from 1, of a process that shares its port with others; 0 for a single process.
    `metrics_socket` is a Unix socket to serve metrics on instead of a port, so the supervisor can aggregate workers.
    """
    _check_protection(settings)
    database, schemas = Database(url, pool_settings(settings.database)), Schemas(settings.limits.json_schema_timeout_s)
    telemetry = _telemetry(settings, database, worker)
    await database.open(checked=True)
    try:
        await check_revision(database, revision)
        await check_privileges(database)
        database.expect_revision(revision)
        await database.now()  # reads the clock once, so that calls need not query it
        clock, storage = ClockWatch(database.clock, settings.database.max_clock_skew_s), StorageWatch()
        database.runner.observers.append(storage.query_ended)
        leases, wakes, syncs = Leases(database), ChangeSignals(), SyncMetrics(SyncCounters(), SyncBacklog(database))
        writes, entries, sizes = WriteWatch(database), OrderEntries(database), StorageSizes(database)
        tallies = Tallies(database, entries)
        tallies_task, statistics = TalliesTask(tallies), StatisticsRefresh()
        notifier = Notifier(Notifications(url, settings.database.pool_connect_timeout_s), wakes)
        own = settings.maintenance
        maintenance = ChangeLogMaintenance(database, own.change_retention, own.interval_s)
        await maintenance.keep_order()
        draft_check = DraftCheck(DraftChecker(database), own.draft_check_interval_s)
        quotas, tenant_count = (
            Quotas(database, quota_options(settings.limits)),
            TenantCount(own.tenant_count_interval_s),
        )
        quota_watch = QuotaWatch(quotas, own.tenant_count_interval_s, reports=worker <= 1)
        services = await build_services(
            settings,
            database,
            schemas,
            telemetry,
            entries=entries,
            tallies=tallies,
            statistics=statistics,
            wakes=wakes,
            quotas=quotas,
        )
        server = _server(
            settings,
            database,
            telemetry,
            services,
            notifier=notifier,
            warning=lambda: "; ".join(filter(None, (writes.warning, storage.warning, clock.warning))),
            shares_port=worker > 0,
        )
        gauges = gauges_of(
            database,
            server,
            services.watches,
            maintenance,
            draft_check,
            tallies=tallies_task,
            clock=clock,
            storage=storage,
            writes=writes,
            quotas=quota_watch,
            dropped_lines=dropped_lines,
        )
        metrics = Metrics(telemetry, gauges, syncs.collect, sizes.collect)
        address = metrics_socket or metrics_address(settings.metrics)
        async with (
            exporting_spans(telemetry, settings.traces.endpoint, settings.traces.sample_ratio),
            serving_metrics(metrics.text, server.is_ready, address, server.health.warnings) as metrics_port,
        ):
            port = await server.start()
            leader_tasks: list[LeaderTask] = [statistics]
            works: list[Coroutine[Any, Any, None]] = [notifier.run(), quota_watch.run()]
            if worker <= 1 and runs_inline(settings):
                works.append(_sync(settings, database, schemas, wakes, syncs.counters))
            if worker <= 1:  # one process is enough for these, and logs their warnings once
                leader_tasks += [OrderEntriesTask(entries), tallies_task, maintenance, draft_check, tenant_count]
                works += [_warn_of_scarce_connections(settings, database), *_watches(clock, writes, syncs), sizes.run()]
            works.append(Leader(leases, leader_tasks).run())
            async with _background(works):
                try:
                    yield App(f"{settings.server.host}:{port}", metrics_port, server, database)
                finally:
                    wakes.close()
                    await server.drain()
    finally:
        await schemas.close()
        await database.close()


def _watches(clock: ClockWatch, writes: WriteWatch, syncs: SyncMetrics) -> list[Coroutine[Any, Any, None]]:
    return [clock.run(), writes.run(), syncs.backlog.run()]


async def _sync(
    settings: Settings, database: Database, schemas: Schemas, wakes: ChangeSignals, counters: SyncCounters
) -> None:
    """Run the workers of syncs until cancelled."""
    async with sync_runner(settings, database, schemas, wakes, counters) as runner:
        await runner.run()


def _check_protection(settings: Settings) -> None:
    server = settings.server
    if not server.is_loopback and not settings.is_protected and not server.dangerously_serve_unprotected:
        raise ValueError(
            f"DRAFTLINE_HOST is {server.host}: without both authentication and TLS, loopback alone is served"
        )


def _telemetry(settings: Settings, database: Database, worker: int) -> Telemetry:
    """Create the telemetry, and log statements and calls as the settings say."""
    telemetry = Telemetry()
    database.runner.observers += [telemetry.record_query, slow_statements(settings.log.slow_statement_s)]
    logged = Logged(settings.log.access)
    if logged is not Logged.NONE:
        lines = AccessLogWriter(settings.log.format, settings.log.level, worker=worker)
        telemetry.listeners.append(AccessLog(logged, settings.log.slow_call_s, lines.write).call_ended)
    return telemetry


def _server(
    settings: Settings,
    database: Database,
    telemetry: Telemetry,
    services: Services,
    *,
    notifier: Notifier,
    warning: Callable[[], str],
    shares_port: bool,
) -> Server:
    health = Health([service.full_name for service in SERVICES], database.ping, warning)
    return Server(
        services.servicers,
        IdempotencyLayer(services.requests),
        notifier.wrote,
        health,
        server_options(settings, shares_port=shares_port),
        authenticator=authenticator(settings.auth),
        tls=Tls(files) if (files := tls_files(settings.tls)) else None,
        telemetry=telemetry,
        conditions=ConditionWarnings(services.field_names),
    )


@asynccontextmanager
async def _background(works: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run coroutines as tasks during the block, and cancel them at its end."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _warn_of_scarce_connections(settings: Settings, database: Database) -> None:
    """Log a warning if PostgreSQL allows fewer connections than configured. Once, as only the operator can fix it."""
    wanted = settings.server.workers * connections_of(settings.database.pool_size)
    with suppress(DraftlineError):
        if (allowed := await read_usable_connections(database)) < wanted:
            structlog.get_logger().warning(
                "connection_limit_too_low", workers=settings.server.workers, required=wanted, available=allowed,
                hint=CONNECTIONS_FIX,
            )  # fmt: skip
