"""The service in this process, until a signal stops it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

from ..app import App, running
from ..ops.garbage import collect_rarely
from ..ops.signals import stop_by_signal
from ..settings import Settings


async def serve(
    settings: Settings,
    url: str,
    revision: str,
    *,
    serving: Callable[[App], None],
    worker: int = 0,
    metrics_socket: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Call `serving` once calls are served. See `running` for the other arguments."""
    gc.freeze()  # objects loaded by now are permanent: exclude them from garbage collection
    collect_rarely()
    stop = stop_by_signal()
    async with running(settings, url, revision, worker=worker, metrics_socket=metrics_socket) as app:
        serving(app)
        await stop.wait()
