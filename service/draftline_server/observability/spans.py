"""Spans for calls, within the caller's trace, and for their statements, exported by OTLP.

They are created when a call has finished, from its recorded data: its first hundred statements, including those shared
with other calls. Only traces.py imports this module, because the libraries are an optional dependency.
"""

from __future__ import annotations

import time
from importlib import metadata

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from ..store.query_stats import QueryTiming
from .access_log import OURS
from .telemetry import Call
from .trace_context import trace_context

EXPORT_S = 3  # timeout of an export, including the last one


class Spans:
    """Creates and exports spans. `ended` is a listener of Telemetry."""

    def __init__(self, endpoint: str, sampled_part: float) -> None:
        version = metadata.version("draftline-server")
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sampled_part)),
            resource=Resource.create({"service.name": "draftline", "service.version": version}),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http://"), timeout=EXPORT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=EXPORT_S * 1000))
        self._tracer = self._provider.get_tracer("draftline")

    def close(self) -> None:
        """Export the remaining spans, or drop them after EXPORT_S. Blocks meanwhile."""
        self._provider.shutdown()

    def ended(self, call: Call, duration_s: float) -> None:
        # Offset from the monotonic clock that calls are timed with to wall-clock time.
        epoch_ns = time.time_ns() - time.perf_counter_ns()
        began_ns = epoch_ns + round(call.started * 1e9)
        span = self._tracer.start_span(call.method.name, _caller(call), SpanKind.SERVER, start_time=began_ns)
        call.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        if not span.is_recording():
            return
        span.set_attributes(_of_call(call))
        if call.code in OURS:
            span.set_status(StatusCode.ERROR)
        within = trace.set_span_in_context(span)
        for run in call.runs.first:
            self._add(run, within, epoch_ns + round(run.started * 1e9))
        span.end(began_ns + round(duration_s * 1e9))

    def _add(self, run: QueryTiming, within: Context, began_ns: int) -> None:
        told = {"db.system.name": "postgresql", "db.query.summary": run.name}
        span = self._tracer.start_span(run.name, within, SpanKind.CLIENT, told, start_time=began_ns)
        if run.failed:
            span.set_status(StatusCode.ERROR)
        span.end(began_ns + round(run.duration_s * 1e9))


def _caller(call: Call) -> Context:
    told = trace_context(call.metadata)
    if told is None:
        return Context()
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if told.is_sampled else trace.TraceFlags.DEFAULT)
    caller = trace.SpanContext(int(told.trace_id, 16), int(told.span_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(caller), Context())


def _of_call(call: Call) -> dict[str, str | int]:
    """Return the attributes of a call's span, by OpenTelemetry's conventions where they exist. No content, no token."""
    service, _, method = call.method.name.partition("/")
    told: dict[str, str | int] = {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "rpc.grpc.status_code": call.code.value[0],
        "enduser.id": call.user_id,
        "draftline.tenant_id": call.tenant_id,
        "draftline.request_id": call.request_id,
        "draftline.reason": call.reason,
        "draftline.statements": call.runs.count,
    }
    return {name: value for name, value in told.items() if value != ""}
