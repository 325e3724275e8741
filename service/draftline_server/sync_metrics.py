"""The metrics of syncs: the counts of this process's workers, and the backlog of all syncs of the database."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from .domain.errors import DraftlineError
from .observability.metrics import add_distribution
from .store.database import Database
from .store.sync.overview import SyncCondition, sync_conditions
from .sync.counters import SyncCounters

READ_S = 15.0
REST = 20  # a reading that took t seconds is followed by a pause of at least REST * t
SUSPENSIONS = ("DELETIONS_HELD", "ENDPOINT_UNAVAILABLE", "RESTORED", "UNAUTHORIZED", "UNSUITABLE", "WENT_BACK")
OTHER = "OTHER"


class SyncBacklog:
    """The conditions of all syncs of the database at the last reading. They are the same in every process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.conditions: Sequence[SyncCondition] = ()

    async def run(self) -> None:
        """Read the conditions again and again, until cancelled."""
        while True:
            pause_s = READ_S
            started = time.monotonic()
            try:
                await self.read()
                pause_s = max(READ_S, REST * (time.monotonic() - started))
            except DraftlineError as error:  # the last known conditions stay
                structlog.get_logger().warning("sync_backlog_failed", reason=error.reason)
            await asyncio.sleep(pause_s)

    async def read(self) -> None:
        self.conditions = await sync_conditions(self._database)

    def records(self) -> Mapping[str, int]:
        """Return the number of records by state. Those in doubt are part of those that are syncing."""
        counts = {"committed": 0, "syncing": 0, "in_doubt": 0, "conflict": 0, "failed": 0}
        for each in self.conditions:
            for state, count in zip(
                counts, (each.due, each.sending, each.in_doubt, each.held, each.failed), strict=True
            ):
                counts[state] += count
        return counts

    def suspended(self) -> Mapping[str, int]:
        """Return the number of suspended syncs by reason."""
        counts = Counter(dict.fromkeys((*SUSPENSIONS, OTHER), 0))
        for reason in (each.suspended_reason for each in self.conditions if each.suspended_reason):
            counts[reason if reason in SUSPENSIONS else OTHER] += 1
        return counts


class SyncMetrics:
    """Yields the metrics of syncs at each scrape. docs/operations.md explains each."""

    def __init__(self, counters: SyncCounters, backlog: SyncBacklog) -> None:
        self.counters = counters
        self.backlog = backlog

    def collect(self) -> Iterator[Metric]:
        yield from self._of_database()
        yield from self._of_process()
        yield from self._requests()

    def _of_database(self) -> Iterator[Metric]:
        backlog = self.backlog
        syncs = backlog.conditions
        lags = [each.lag_s for each in syncs if not each.push_paused]
        yield _labelled("draftline_sync_records", "Records that are not synced.", "state", backlog.records())
        yield GaugeMetricFamily(
            "draftline_sync_lag_seconds", "Age of the oldest unsent commit.", max(lags, default=0.0)
        )
        yield GaugeMetricFamily(
            "draftline_sync_pull_overdue_seconds",
            "Longest time since an upstream should have been read.",
            max([0.0, *(each.overdue_s for each in syncs)]),
        )
        yield GaugeMetricFamily("draftline_syncs", "Syncs of all tenants.", len(syncs))
        yield GaugeMetricFamily(
            "draftline_syncs_without_worker",
            "Syncs that no process works on.",
            sum(each.needs_worker for each in syncs),
        )
        paused = {"push": sum(each.push_paused for each in syncs), "pull": sum(each.pull_paused for each in syncs)}
        yield _labelled("draftline_syncs_paused", "Syncs that a person paused.", "kind", paused)
        yield _labelled(
            "draftline_syncs_suspended", "Syncs that the service stopped, by reason.", "reason", backlog.suspended()
        )

    def _of_process(self) -> Iterator[Metric]:
        counters = self.counters
        yield GaugeMetricFamily("draftline_syncs_running", "Syncs that this process works on.", counters.running)
        yield GaugeMetricFamily(
            "draftline_sync_breakers_open", "Running syncs whose upstream fails.", counters.open_breakers
        )
        for name, description, label, counts in (
            ("pushed_records", "Writes of records to upstreams.", "outcome", counters.pushed_records),
            ("pulled_records", "Records that upstreams returned.", "outcome", counters.pulled_records),
            ("deferred_records", "Returned records that are read again.", "reason", counters.deferred_records),
        ):
            family = CounterMetricFamily(f"draftline_sync_{name}", description, labels=[label])
            for value, count in counts.items():
                family.add_metric([value.lower() if label == "outcome" else value], count)
            yield family
        yield CounterMetricFamily(
            "draftline_sync_overruled_records",
            "Returned records that replaced a value here, as the policy says.",
            counters.overruled_records,
        )

    def _requests(self) -> Iterator[Metric]:
        durations = HistogramMetricFamily(
            "draftline_sync_request_duration_seconds", "Duration of requests to upstreams.", labels=["kind"]
        )
        failures = CounterMetricFamily(
            "draftline_sync_request_failures", "Requests to upstreams that failed.", labels=["kind", "reason"]
        )
        for kind, duration_s in self.counters.request_s.items():
            add_distribution(durations, [kind], duration_s)
            for reason, count in self.counters.failures[kind].items():
                failures.add_metric([kind, reason], count)
        yield from (durations, failures)


def _labelled(name: str, description: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
