"""Signal handling for graceful shutdown."""

from __future__ import annotations

import asyncio
import signal


def stop_by_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets. Call it in the event loop of the main thread."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
