"""Whether calls are traced. What that takes is loaded only if they are, and calls pay nothing if they are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .telemetry import Telemetry

NEEDED = "DRAFTLINE_TRACES_ENDPOINT needs what `pip install 'draftline-server[traces]'` brings"


@asynccontextmanager
async def traced(telemetry: Telemetry, endpoint: str, sampled_part: float) -> AsyncIterator[None]:
    """Traces the calls of `telemetry` until the end of the block, if there is an endpoint.

    `sampled_part`: of the traces that begin here. ValueError if the libraries are not there.
    """
    if not endpoint:
        yield
        return
    try:
        from .spans import Spans  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ValueError(NEEDED) from error
    spans = Spans(endpoint, sampled_part)
    # First, so that the access log knows the trace of a call that began one.
    telemetry.listeners.insert(0, spans.ended)
    try:
        yield
    finally:
        await asyncio.to_thread(spans.close)
