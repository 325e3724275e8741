"""Optional tracing. Its libraries are loaded only if it is enabled; otherwise it costs calls nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .telemetry import Telemetry

NEEDED = "DRAFTLINE_TRACES_ENDPOINT needs what `pip install 'draftline-server[traces]'` brings"


@asynccontextmanager
async def traced(telemetry: Telemetry, endpoint: str, sampled_part: float) -> AsyncIterator[None]:
    """Trace the calls of `telemetry` until the end of the block, if there is an endpoint.

    `sampled_part` is the fraction of root traces to sample; other calls follow the caller's decision. Raises ValueError
    if the libraries are not installed.
    """
    if not endpoint:
        yield
        return
    try:
        from .spans import Spans  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ValueError(NEEDED) from error
    spans = Spans(endpoint, sampled_part)
    # First, so that the access log has the trace id of a call that starts a trace.
    telemetry.listeners.insert(0, spans.ended)
    try:
        yield
    finally:
        await asyncio.to_thread(spans.close)
