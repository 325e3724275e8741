"""Counts of calls in one process: plain numbers, modified only in its event loop.

Every call passes through here, so the cost is a few microseconds at most: no locks, no lookups by name. metrics.py
exports the counts.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import grpc

from ..auth.identity import ANONYMOUS, Identity
from ..domain.errors import OverloadedError
from ..store.query_stats import CallQueries, QueryTiming, call_queries

# The bounds of gRFC A66.
LATENCY_S = (
    0.0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.013,
    0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 2.0,
    5.0, 10.0, 20.0, 50.0, 100.0,
)  # fmt: skip
SIZE_BYTES = (0, 1024, 2048, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
STATEMENT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
STATEMENTS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128)
# Likely reasons for cutting streams off. They are exported as 0 from the start, because otherwise the first increase of
# a counter would not be visible.
CUT_OFF_REASONS = (
    "DATABASE_UNAVAILABLE", "DEADLINE_EXCEEDED", "DRAINING", "INTERNAL", "OVERLOADED", "PERMISSION_DENIED",
    "READER_TOO_SLOW", "TOKEN_EXPIRED", "UNAUTHENTICATED",
)  # fmt: skip
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


class Distribution:
    """A histogram: the number of values by the lowest bound that they do not exceed, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Outcome:
    """The calls of a method that ended with one code."""

    __slots__ = ("duration_s", "received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.duration_s = Distribution(LATENCY_S)
        self.received_bytes = Distribution(SIZE_BYTES)
        self.sent_bytes = Distribution(SIZE_BYTES)


@dataclass(slots=True)
class Method:
    """The counts of one method. `name` is in the format of gRFC A66: draftline.v1.ContentService/PatchContent."""

    name: str
    is_stream: bool = False
    started: int = 0
    shed: int = 0
    cut_off: Counter[str] = field(default_factory=Counter)  # streams ended after something was sent, by reason
    outcomes: defaultdict[str, Outcome] = field(default_factory=lambda: defaultdict(Outcome))
    statements: Distribution = field(default_factory=lambda: Distribution(STATEMENTS))


@dataclass(slots=True)
class Call:
    """A call from its arrival to its end. Empty strings mean unknown or none."""

    method: Method
    queries: CallQueries
    started: float  # by time.perf_counter()
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""  # of error_reason.proto
    user_id: str = ""
    tenant_id: str = ""
    request_id: str = ""
    trace_id: str = ""
    metadata: Iterable[tuple[str, str | bytes]] | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    writes: int = 0  # of a stream of writes: those that have ended, and those of them that failed
    failed_writes: int = 0
    peer: str = ""  # as gRPC names the other end of the connection
    caller: str = ""  # the key that it is counted under; empty until it is counted
    identity: Identity = ANONYMOUS


class Statements:
    """The executions of one statement."""

    __slots__ = ("duration_s", "failed")

    def __init__(self) -> None:
        self.duration_s = Distribution(STATEMENT_S)
        self.failed = 0


class Telemetry:
    """The counts of a process."""

    def __init__(self) -> None:
        self.methods: dict[str, Method] = {}
        # Called with each finished call and its duration in seconds. They must not raise.
        self.listeners: list[Callable[[Call, float], None]] = []
        self.statements: defaultdict[str, Statements] = defaultdict(Statements)
        self.batch_sizes = {kind: Distribution(BATCH_SIZES) for kind in ("patches", "reads")}
        self.drafts: Counter[str] = Counter(dict.fromkeys(("saved", "committed", "discarded"), 0))
        self.conflicts = 0
        self.streamed_writes: Counter[str] = Counter(OK=0)  # writes of streams that have ended, by code
        self.imported: Counter[str] = Counter(dict.fromkeys(("inserted", "updated", "unchanged", "deleted"), 0))

    def method(self, full_name: str, *, takes_stream: bool = False, sends_stream: bool = False) -> Method:
        """Return the counts of a method, given its full name with a dot before the method."""
        method = Method("/".join(full_name.rsplit(".", 1)), takes_stream or sends_stream)
        if sends_stream:
            method.cut_off.update(dict.fromkeys(CUT_OFF_REASONS, 0))
        return self.methods.setdefault(full_name, method)

    @staticmethod
    def start_call(method: Method) -> Call:
        method.started += 1
        queries = CallQueries()
        call_queries.set(queries)
        return Call(method, queries, time.perf_counter())

    def end_call(self, call: Call) -> None:
        method, duration_s = call.method, time.perf_counter() - call.started
        outcome = method.outcomes[call.code.name]
        outcome.duration_s.observe(duration_s)
        outcome.received_bytes.observe(call.received_bytes)
        outcome.sent_bytes.observe(call.sent_bytes)
        method.statements.observe(call.queries.count)
        if method.is_stream and call.reason and call.sent_bytes:
            method.cut_off[call.reason] += 1
        elif call.reason == OverloadedError.reason:
            method.shed += 1
        for listener in self.listeners:
            listener(call, duration_s)

    def record_query(self, query: QueryTiming) -> None:
        """Count a statement. An observer of a QueryRunner."""
        statements = self.statements[query.name]
        statements.duration_s.observe(query.duration_s)
        statements.failed += query.failed
