"""Spans for calls, within the caller's trace, and for their statements, exported by OTLP.

They are created when a call has finished, from its recorded data: its first hundred statements, including those shared
with other calls. Only tracing.py imports this module, because the libraries are an optional dependency.
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
from .access_log import SERVER_ERRORS
from .telemetry import Call
from .tracing import trace_context

EXPORT_TIMEOUT_S = 3  # timeout of an export, including the last one


class Spans:
    """Creates and exports spans. `call_ended` is a listener of Telemetry."""

    def __init__(self, endpoint: str, sample_ratio: float) -> None:
        version = metadata.version("draftline-server")
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=Resource.create({"service.name": "draftline", "service.version": version}),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http://"), timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=EXPORT_TIMEOUT_S * 1000))
        self._tracer = self._provider.get_tracer("draftline")

    def close(self) -> None:
        """Export the remaining spans, or drop them after EXPORT_TIMEOUT_S. Blocks meanwhile."""
        self._provider.shutdown()

    def call_ended(self, call: Call, duration_s: float) -> None:
        # Offset from the monotonic clock that calls are timed with to wall-clock time.
        epoch_ns = time.time_ns() - time.perf_counter_ns()
        began_ns = epoch_ns + round(call.started * 1e9)
        span = self._tracer.start_span(call.method.name, _caller_context(call), SpanKind.SERVER, start_time=began_ns)
        call.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        if not span.is_recording():
            return
        span.set_attributes(_attributes(call))
        if call.code in SERVER_ERRORS:
            span.set_status(StatusCode.ERROR)
        parent = trace.set_span_in_context(span)
        for query in call.queries.first:
            self._add_query(query, parent, epoch_ns + round(query.started * 1e9))
        span.end(began_ns + round(duration_s * 1e9))

    def _add_query(self, query: QueryTiming, parent: Context, began_ns: int) -> None:
        attributes = {"db.system.name": "postgresql", "db.query.summary": query.name}
        span = self._tracer.start_span(query.name, parent, SpanKind.CLIENT, attributes, start_time=began_ns)
        if query.failed:
            span.set_status(StatusCode.ERROR)
        span.end(began_ns + round(query.duration_s * 1e9))


def _caller_context(call: Call) -> Context:
    context = trace_context(call.metadata)
    if context is None:
        return Context()
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if context.is_sampled else trace.TraceFlags.DEFAULT)
    caller = trace.SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(caller), Context())


def _attributes(call: Call) -> dict[str, str | int]:
    """Return the attributes of a call's span, by OpenTelemetry's conventions where they exist. No content, no token."""
    service, _, method = call.method.name.partition("/")
    attributes: dict[str, str | int] = {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "rpc.grpc.status_code": call.code.value[0],
        "enduser.id": call.user_id,
        "draftline.tenant_id": call.tenant_id,
        "draftline.request_id": call.request_id,
        "draftline.reason": call.reason,
        "draftline.statements": call.queries.count,
    }
    return {name: value for name, value in attributes.items() if value != ""}
