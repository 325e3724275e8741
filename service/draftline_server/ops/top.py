"""The current activity of a service, from two scrapes of its metrics and the locks of its database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from .lock_waits import Wait
from .metrics_client import DURATION, STATEMENT, Between

QUANTILES = (0.5, 0.95, 0.99)
OK = "OK"


@dataclass(frozen=True, slots=True)
class Method:
    """The calls of one rpc; a stream is counted when it ends. Latencies are None if no call ended."""

    method: str  # package.Service/Method
    calls_per_s: float
    errors_per_s: float  # calls that ended with a status other than OK
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Statement:
    """The runs of one named SQL statement."""

    statement: str
    runs_per_s: float
    mean_ms: float


@dataclass(frozen=True, slots=True)
class Activity:
    """The figures that `draftline top` shows. Rates are those since the previous scrape."""

    interval_s: float
    version: str
    workers: int
    uptime_s: float
    cpu_cores: float
    memory_bytes: int
    is_database_reachable: bool
    calls_open: int
    calls_running: int
    calls_waiting: int
    calls_shed_per_s: float
    pool_size: int
    pool_in_use: int
    pool_waiting: int
    watchers: int
    patches_per_statement: float | None  # None: no patches
    retries_per_s: float
    methods: Sequence[Method]  # the methods that were called, the busiest first
    statements: Sequence[Statement]  # by total time, the longest first
    locks: Sequence[Wait] | None  # None: the database is unknown, or its locks cannot be read


def activity(between: Between, locks: Sequence[Wait] | None) -> Activity:
    now = between.after
    groups = between.grown_by("draftline_batch_size_count", "kind").get("patches", 0.0)
    grouped = between.grown_by("draftline_batch_size_sum", "kind").get("patches", 0.0)
    return Activity(
        interval_s=between.seconds,
        version=now.label("draftline_build_info", "version"),
        workers=int(now.value("draftline_workers")) or 1,
        uptime_s=max(0.0, time.time() - now.value("process_start_time_seconds")),
        cpu_cores=between.rate("process_cpu_seconds_total"),
        memory_bytes=int(now.value("process_resident_memory_bytes")),
        is_database_reachable=now.value("draftline_database_reachable") > 0,
        calls_open=int(now.value("draftline_calls_open")),
        calls_running=int(now.value("draftline_calls_running")),
        calls_waiting=int(now.value("draftline_calls_waiting")),
        calls_shed_per_s=between.rate("draftline_calls_shed_total"),
        pool_size=int(now.value("draftline_pool_size")),
        pool_in_use=int(now.value("draftline_pool_in_use")),
        pool_waiting=int(now.value("draftline_pool_waiting")),
        watchers=int(now.value("draftline_watchers")),
        patches_per_statement=grouped / groups if groups else None,
        retries_per_s=between.rate("draftline_transaction_retries_total"),
        methods=_methods(between),
        statements=_statements(between),
        locks=locks,
    )


def _methods(between: Between) -> list[Method]:
    failed: dict[str, float] = {}
    for labels, more in between.grown(f"{DURATION}_count").items():
        values = dict(labels)
        if values["grpc_status"] != OK:
            failed[values["grpc_method"]] = failed.get(values["grpc_method"], 0.0) + more
    found = []
    for name, count in between.grown_by(f"{DURATION}_count", "grpc_method").items():
        if count:
            estimated = between.quantiles(DURATION, "grpc_method", name, QUANTILES)
            p50, p95, p99 = (None if each is None else each * 1000 for each in estimated)
            errors = failed.get(name, 0.0) / between.seconds
            found.append(Method(name, count / between.seconds, errors, p50, p95, p99))
    return sorted(found, key=lambda each: (-each.calls_per_s, each.method))


def _statements(between: Between) -> list[Statement]:
    taken_s = between.grown_by(f"{STATEMENT}_sum", "statement")
    counts = between.grown_by(f"{STATEMENT}_count", "statement")
    busiest = sorted((name for name, count in counts.items() if count), key=lambda name: -taken_s[name])
    return [Statement(name, counts[name] / between.seconds, taken_s[name] / counts[name] * 1000) for name in busiest]
