"""Signal handling for graceful shutdown."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

POLL_S = 0.5


def stop_by_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets. Call it in the event loop of the main thread."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def stop_with_parent(parent: int) -> None:
    """Send this process SIGTERM when its parent, the process `parent`, has ended in whatever way."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
