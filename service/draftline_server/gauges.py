"""Gauges and counters that are read from the components of a process at each scrape."""

from __future__ import annotations

from collections.abc import Callable

from .background.change_log_maintenance import ChangeLogMaintenance
from .background.clock_watch import ClockWatch
from .background.draft_integrity import DraftCheck
from .background.storage_watch import StorageWatch
from .background.tallies import TalliesTask
from .background.tenant_usage import QuotaWatch
from .background.write_watch import WriteWatch
from .observability.metrics import Gauge
from .rpc.server import Server
from .rpc.services.watch import Watches
from .store.database import Database


def gauges_of(
    database: Database,
    server: Server,
    watches: Watches,
    maintenance: ChangeLogMaintenance,
    check: DraftCheck,
    *,
    tallies: TalliesTask,
    clock: ClockWatch,
    storage: StorageWatch,
    writes: WriteWatch,
    quotas: QuotaWatch,
    dropped_lines: Callable[[], int],
) -> list[Gauge]:
    calls, admission, health = server.calls, server.calls.admission, server.health
    return [
        Gauge("draftline_calls_open", "Calls in progress, including watchers and queued calls.", lambda: calls.count),
        Gauge("draftline_calls_running", "Calls that are running.", lambda: admission.running),
        Gauge("draftline_calls_waiting", "Calls in the queue.", lambda: admission.waiting),
        Gauge(
            "draftline_calls_arriving", "Calls whose request has not been received completely.", lambda: calls.arriving
        ),
        Gauge(
            "draftline_unread_answer_bytes",
            "Bytes of responses that their readers have not received yet.",
            lambda: calls.send_buffer.bytes,
        ),
        Gauge(
            "draftline_authentication_failures_total",
            "Calls rejected because authentication failed.",
            lambda: server.unauthenticated_calls,
        ),
        Gauge(
            "draftline_connections_closed_total",
            "Connections closed because they sent too much data or cancelled too many calls.",
            lambda: server.connections.closed_count,
        ),
        Gauge("draftline_watchers", "Open watches.", lambda: watches.count),
        Gauge("draftline_pool_size", "Maximum database connections in the pool.", lambda: database.settings.size),
        Gauge("draftline_pool_in_use", "Database connections in use.", lambda: database.connections.in_use),
        Gauge(
            "draftline_pool_waiting",
            "Requests waiting for a database connection.",
            lambda: database.connections.waiting,
        ),
        Gauge(
            "draftline_pool_exhausted_total",
            "Requests that got no database connection in time.",
            lambda: database.connections.exhausted,
        ),
        Gauge(
            "draftline_transaction_retries_total",
            "Transactions and statements that were retried.",
            lambda: database.retries,
        ),
        Gauge("draftline_database_reachable", "1 while the database responds, else 0.", lambda: health.is_reachable),
        Gauge(
            "draftline_database_read_only",
            "1 while the database takes no writes, as a standby, else 0.",
            lambda: bool(writes.warning),
        ),
        Gauge(
            "draftline_storage_full_total",
            "Statements that failed because the disk of the database is full.",
            lambda: storage.failures,
        ),
        Gauge(
            "draftline_clock_skew_seconds",
            "Absolute difference between the clocks of this host and the database.",
            lambda: clock.skew_s,
        ),
        Gauge(
            "draftline_change_feed_blocking_transactions",
            "Transactions open for over ten minutes at the last maintenance; they delay watchers.",
            lambda: maintenance.blocking_transactions,
        ),
        Gauge(
            "draftline_maintenance_failures_total",
            "Maintenance steps that failed.",
            lambda: maintenance.failures,
        ),
        Gauge(
            "draftline_log_lines_dropped_total",
            "Log lines dropped because standard error was not read fast enough.",
            dropped_lines,
        ),
        Gauge("draftline_draft_checks_total", "Completed checks of all drafts.", lambda: check.completed),
        Gauge(
            "draftline_draft_check_mismatches_total",
            "Drafts that checks found inconsistent with their records.",
            lambda: check.mismatches,
        ),
        Gauge(
            "draftline_tally_rows_unfolded",
            "Rows of statistics that writes have appended and that are not folded yet.",
            lambda: tallies.unfolded.rows,
        ),
        Gauge(
            "draftline_tally_fold_age_seconds",
            "Longest time since the last fold of a statistic that is to be folded; 0: there is none.",
            lambda: tallies.unfolded.age_s,
        ),
        Gauge(
            "draftline_tenants_near_quota",
            "Tenants that use 90 % of a quota or more at the last count.",
            lambda: quotas.tenants_near_quota,
        ),
        Gauge("draftline_statistics_built_total", "Statistics that were built.", lambda: tallies.built),
        Gauge(
            "draftline_statistics_invalid",
            "Declared statistics with too many groups, which are not in use.",
            lambda: tallies.unfolded.invalid,
        ),
    ]
