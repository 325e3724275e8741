"""The access log and the log of slow statements. They name caller, method and duration, but never content."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import grpc
import msgspec
import structlog

from ..concurrency.call_context import call_tenant
from ..concurrency.rate_limit import Rate
from ..store.query_stats import QueryTiming
from .telemetry import Call
from .tracing import trace_context

SERVER_ERRORS = frozenset({
    grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED,
})  # fmt: skip
MAX_ID = 128  # characters
ANONYMOUS_PER_S, ANONYMOUS_BURST = (
    10.0,
    100,
)  # lines of unauthenticated callers, which anyone could cause without limit


class Logged(StrEnum):
    """The calls that are logged."""

    ALL = "all"
    NOTABLE = "notable"  # server errors, and slow unary calls
    NONE = "none"


class CallLine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The log line of a finished call."""

    timestamp: str = ""
    level: str
    event: str
    worker: int = 0
    method: str
    code: str
    duration_ms: float
    statements: int
    tenant_id: str
    user_id: str
    reason: str = ""
    request_id: str = ""
    trace_id: str = ""
    writes: int = 0  # of a stream of writes
    failed_writes: int = 0
    suppressed: int = 0  # lines of unauthenticated callers that were suppressed before this one


class AccessLog:
    """A listener of Telemetry that passes a line for each finished call to `write`."""

    def __init__(self, logged: Logged, slow_s: float, write: Callable[[CallLine], None]) -> None:
        self._all = logged is Logged.ALL
        self._slow_s = slow_s
        self._write = write
        self._anonymous_rate = Rate(ANONYMOUS_PER_S, ANONYMOUS_BURST)
        self._suppressed = 0

    def call_ended(self, call: Call, duration_s: float) -> None:
        if not call.caller and not self._anonymous_rate.allows():
            self._suppressed += self._all
            return
        notable = call.code in SERVER_ERRORS or (duration_s >= self._slow_s and not call.method.is_stream)
        if notable or self._all:
            line = CallLine(
                level="warning" if notable else "info",
                event="call",
                method=call.method.name,
                code=call.code.name,
                duration_ms=round(duration_s * 1000, 3),
                statements=call.queries.count,
                tenant_id=_escaped(call.tenant_id),
                user_id=call.user_id,
                reason=call.reason,
                request_id=call.request_id,
                trace_id=call.trace_id or _trace_id(call),
                writes=call.writes,
                failed_writes=call.failed_writes,
                suppressed=self._suppressed,
            )
            self._suppressed = 0
            self._write(line)


def _trace_id(call: Call) -> str:
    context = trace_context(call.metadata)
    return context.trace_id if context is not None else ""


def _escaped(text: str) -> str:
    """Return an unvalidated text of a caller, bounded and escaped so that it cannot break the log line."""
    return text if len(text) <= MAX_ID and text.isprintable() else ascii(text[:MAX_ID])


def slow_statements(slow_s: float) -> Callable[[QueryTiming], None]:
    """Return a QueryRunner observer that logs statements that take at least `slow_s`.

    Statements are named by the comment that their SQL begins with.
    """

    def log_slow(query: QueryTiming) -> None:
        if query.duration_s >= slow_s:
            structlog.get_logger().warning(
                "slow_statement", statement=query.name, duration_ms=round(query.duration_s * 1000, 3),
                failed=query.failed, tenant_id=call_tenant.get(),
            )  # fmt: skip

    return log_slow
