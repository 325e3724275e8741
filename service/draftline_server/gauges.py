"""Gauges and counters that are read from the components of a process at each scrape."""

from __future__ import annotations

from collections.abc import Callable

from .background.change_log_maintenance import ChangeLogMaintenance
from .background.clock_watch import ClockWatch
from .background.draft_integrity import DraftCheck
from .observability.metrics import Gauge
from .rpc.server import Server
from .rpc.services.watch import Watches
from .store.database import Database


def gauges_of(
    database: Database,
    server: Server,
    watches: Watches,
    keeper: ChangeLogMaintenance,
    check: DraftCheck,
    *,
    clock: ClockWatch,
    dropped_lines: Callable[[], int],
) -> list[Gauge]:
    calls, admission, health = server.calls, server.calls.admission, server.health
    return [
        Gauge("draftline_calls_open", "Calls under way, watchers and those that wait included.", lambda: calls.count),
        Gauge("draftline_calls_running", "Calls that have their turn.", lambda: admission.running),
        Gauge("draftline_calls_waiting", "Calls that wait for their turn.", lambda: admission.waiting),
        Gauge("draftline_calls_arriving", "Calls whose message has not come yet.", lambda: calls.arriving),
        Gauge(
            "draftline_unread_answer_bytes",
            "Answers that their readers have not taken yet.",
            lambda: calls.sending.bytes,
        ),
        Gauge(
            "draftline_authentication_failures_total",
            "Calls of callers who are not known.",
            lambda: server.refused_callers,
        ),
        Gauge(
            "draftline_connections_closed_total",
            "Connections that were closed because they sent too much, or cancelled too many calls.",
            lambda: server.connections.closed_count,
        ),
        Gauge("draftline_watchers", "Watchers that are served.", lambda: watches.count),
        Gauge("draftline_pool_size", "Connections to the database that there may be.", lambda: database.settings.size),
        Gauge("draftline_pool_in_use", "Connections to the database in use.", lambda: database.connections.in_use),
        Gauge(
            "draftline_pool_waiting",
            "How many wait for a connection to the database.",
            lambda: database.connections.waiting,
        ),
        Gauge(
            "draftline_pool_exhausted_total",
            "Times that no connection came free in time.",
            lambda: database.connections.exhausted,
        ),
        Gauge(
            "draftline_transaction_retries_total",
            "Transactions and statements that were tried again.",
            lambda: database.retries,
        ),
        Gauge("draftline_database_reachable", "1 while the database answers, else 0.", lambda: health.is_reachable),
        Gauge(
            "draftline_clock_skew_seconds",
            "How far the clock of this host is off the database's, whichever way.",
            lambda: clock.off_s,
        ),
        Gauge(
            "draftline_change_feed_blocking_transactions",
            "Transactions open for over ten minutes, which hold up watchers, at the last look.",
            lambda: keeper.held_up,
        ),
        Gauge(
            "draftline_maintenance_failures_total",
            "Steps of the keeping of the change log that failed.",
            lambda: keeper.failures,
        ),
        Gauge(
            "draftline_log_lines_dropped_total",
            "Lines of the log that were dropped because nobody read them.",
            dropped_lines,
        ),
        Gauge("draftline_draft_checks_total", "Checks of all drafts that came to their end.", lambda: check.done),
        Gauge(
            "draftline_draft_check_mismatches_total",
            "Drafts that checks found inconsistent with their records.",
            lambda: check.differences,
        ),
    ]
