"""Distributed tracing: the caller's trace context (W3C Trace Context), and the optional export of spans.

The libraries that export spans are loaded only if tracing is enabled; otherwise it costs calls nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

from .telemetry import Telemetry

TRACEPARENT = "traceparent"
LENGTH = 55  # characters; versions above 00 may have more at the end
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
NEEDED = "DRAFTLINE_TRACE_ENDPOINT needs more packages: run `pip install 'draftline-server[traces]'`"


class TraceContext(NamedTuple):
    """The caller's trace context: ids in hexadecimal digits, and whether the caller samples the trace."""

    trace_id: str
    span_id: str
    is_sampled: bool


def trace_context(metadata: Iterable[tuple[str, str | bytes]] | None) -> TraceContext | None:
    """Return the trace context; None if there is none or it is invalid."""
    for key, value in metadata or ():
        if key == TRACEPARENT and isinstance(value, str):
            parts = _FORM.fullmatch(value)
            if parts is not None and (parts[1] != "00" or len(value) == LENGTH):
                return TraceContext(parts[2], parts[3], bool(int(parts[4], 16) & 1))
    return None


@asynccontextmanager
async def exporting_spans(telemetry: Telemetry, endpoint: str, sample_ratio: float) -> AsyncIterator[None]:
    """Trace the calls of `telemetry` until the end of the block, if there is an endpoint.

    `sample_ratio` is the fraction of root traces to sample; other calls follow the caller's decision. Raises ValueError
    if the libraries are not installed.
    """
    if not endpoint:
        yield
        return
    try:
        from .spans import Spans  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ValueError(NEEDED) from error
    spans = Spans(endpoint, sample_ratio)
    # First, so that the access log has the trace id of a call that starts a trace.
    telemetry.listeners.insert(0, spans.call_ended)
    try:
        yield
    finally:
        await asyncio.to_thread(spans.close)
