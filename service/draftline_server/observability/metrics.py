"""The metrics of a process for Prometheus. docs/operations.md explains each metric.

No label holds a tenant, a user or anything else that callers choose, so the number of series is bounded by the number
of methods, codes, reasons and statements.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from .telemetry import Distribution, Telemetry

CONTENT_TYPE = CONTENT_TYPE_LATEST
SLICE_SAMPLES = 500  # samples that are rendered before control returns to the event loop


class Gauge(NamedTuple):
    """One metric without labels. It is a counter if its name ends with _total."""

    name: str
    help: str
    read: Callable[[], float]


class Metrics:
    """A Prometheus collector over the counts of Telemetry."""

    def __init__(self, telemetry: Telemetry, gauges: Sequence[Gauge], *others: Callable[[], Iterable[Metric]]) -> None:
        """Create the collector. `others` yield further metrics at each scrape."""
        self._telemetry = telemetry
        self._gauges = gauges
        self._others = others
        self._version = metadata.version("draftline-server")
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    async def text(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return await _rendered(self._registry.collect())

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics. Called by the registry."""
        build = InfoMetricFamily("draftline_build", "The version of the server.")
        build.add_metric([], {"version": self._version})
        yield build
        yield from self._read()
        if self._telemetry.methods:  # otherwise the process serves no calls
            yield from self._calls()
            yield from self._work()
        yield from self._statements()
        for collect in self._others:
            yield from collect()

    def _read(self) -> Iterator[Metric]:
        for name, description, read in self._gauges:
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(name, description, read())

    def _calls(self) -> Iterator[Metric]:
        """Yield the metrics of calls. Names and bounds of the first four are those of gRFC A66."""
        methods = list(self._telemetry.methods.values())
        started = CounterMetricFamily("grpc_server_call_started", "Calls that arrived.", labels=["grpc_method"])
        shed = CounterMetricFamily(
            "draftline_calls_shed", "Calls rejected because of overload.", labels=["grpc_method"]
        )
        cut_off = CounterMetricFamily(
            "draftline_streams_cut_off",
            "Streams that the server ended before they were complete.",
            labels=["grpc_method", "reason"],
        )
        statements = HistogramMetricFamily(
            "draftline_call_statements", "Statements per call, including shared ones.", labels=["grpc_method"]
        )
        for method in methods:
            started.add_metric([method.name], method.started)
            shed.add_metric([method.name], method.shed)
            add_distribution(statements, [method.name], method.statements)
            for reason, count in method.cut_off.items():
                cut_off.add_metric([method.name, reason], count)
        yield from (started, *self._outcomes(), shed, cut_off, statements)

    def _outcomes(self) -> Iterator[Metric]:
        labels = ["grpc_method", "grpc_status"]
        size = "total_compressed_message_size"
        duration = HistogramMetricFamily("grpc_server_call_duration_seconds", "Duration of calls.", labels=labels)
        received = HistogramMetricFamily(
            f"grpc_server_call_rcvd_{size}_bytes", "Bytes received per call.", labels=labels
        )
        sent = HistogramMetricFamily(f"grpc_server_call_sent_{size}_bytes", "Bytes sent per call.", labels=labels)
        for method in self._telemetry.methods.values():
            for code, outcome in method.outcomes.items():
                add_distribution(duration, [method.name, code], outcome.duration_s)
                add_distribution(received, [method.name, code], outcome.received_bytes)
                add_distribution(sent, [method.name, code], outcome.sent_bytes)
        yield from (duration, received, sent)

    def _statements(self) -> Iterator[Metric]:
        duration = HistogramMetricFamily(
            "draftline_statement_duration_seconds", "Duration of statements.",
            labels=["statement"],
        )  # fmt: skip
        failed = CounterMetricFamily("draftline_statement_failures", "Statements that failed.", labels=["statement"])
        for name, statements in self._telemetry.statements.items():
            add_distribution(duration, [name], statements.duration_s)
            failed.add_metric([name], statements.failed)
        groups = HistogramMetricFamily("draftline_batch_size", "Calls per shared statement.", labels=["kind"])
        for kind, sizes in self._telemetry.batch_sizes.items():
            add_distribution(groups, [kind], sizes)
        yield from (duration, failed, groups)

    def _work(self) -> Iterator[Metric]:
        telemetry = self._telemetry
        for done, count in telemetry.drafts.items():
            yield CounterMetricFamily(f"draftline_drafts_{done}", f"Drafts that were {done}.", count)
        yield CounterMetricFamily(
            "draftline_draft_conflicts", "Conflicting paths that commits found.",
            telemetry.conflicts,
        )  # fmt: skip
        records = CounterMetricFamily("draftline_imported_records", "Imported records by outcome.", labels=["outcome"])
        for outcome, count in telemetry.imported.items():
            records.add_metric([outcome], count)
        yield records
        writes = CounterMetricFamily(
            "draftline_streamed_writes", "Writes of StreamPatches by code.", labels=["grpc_status"]
        )
        for code, count in telemetry.streamed_writes.items():
            writes.add_metric([code], count)
        yield writes


def add_distribution(family: HistogramMetricFamily, labels: Sequence[str], values: Distribution) -> None:
    bounds = [*(str(float(bound)) for bound in values.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(values.counts), strict=True)), values.sum)


async def _rendered(metrics: Iterable[Metric]) -> bytes:
    """Return metrics in the text format of Prometheus.

    Rendering the thousands of samples of a process takes tens of milliseconds, which would delay calls if it were done
    at once.
    """
    parts: list[bytes] = []
    for metric in metrics:
        for start in range(0, max(1, len(metric.samples)), SLICE_SAMPLES):
            part = Metric(metric.name, metric.documentation, metric.type)
            part.samples = metric.samples[start : start + SLICE_SAMPLES]
            registry: Any = _Single(part)
            text = generate_latest(registry)
            parts.append(text.split(b"\n", 2)[2] if start else text)  # HELP and TYPE only once
            await asyncio.sleep(0)
    return b"".join(parts)


class _Single(NamedTuple):
    """A registry of one metric."""

    metric: Metric

    def collect(self) -> Iterable[Metric]:
        return (self.metric,)
