"""How who runs the service stops it."""

from __future__ import annotations

import asyncio
import signal


def stop_by_signal() -> asyncio.Event:
    """Set when SIGTERM or SIGINT comes; to be made in the loop of the main thread."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
