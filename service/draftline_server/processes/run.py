"""The service as several processes on one port, with combined metrics."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from ..observability.logs import dropped_lines
from ..observability.worker_metrics import WorkerMetrics
from ..ops.signals import stop_by_signal
from ..ops.socket_folders import short_base
from ..settings import Settings
from ..wiring import metrics_address
from .shared_port import shared_port
from .supervisor import supervise
from .worker_config import config_line

LONGEST_SOCKET_NAME = "draftline-12345678/worker-256.1000000.sock"  # relative to the temporary directory


@dataclass(frozen=True, slots=True)
class _WorkerObserver:
    settings: Settings
    url: str
    revision: str
    metrics: WorkerMetrics
    sockets: Path

    def started(self, worker: int, start: int) -> bytes:
        name = _name(worker, start)
        socket = None
        if self.settings.metrics.port is not None:
            socket = self.sockets / f"{name}.sock"
            self.metrics.began(name, socket)
        return config_line(self.settings, self.url, self.revision, worker, socket)

    def ended(self, worker: int, start: int) -> None:
        self.metrics.ended(_name(worker, start))

    def hung(self, worker: int, start: int) -> None:
        self.metrics.hung(_name(worker, start))


def _name(worker: int, start: int) -> str:
    return f"worker-{worker}.{start}"


async def serve(settings: Settings, url: str, revision: str) -> None:
    """Serve from `settings.server.workers` processes until SIGTERM or SIGINT.

    Raises WorkerError if a worker cannot start or does not end in time, OutOfReachError if workers cannot reach the
    database, and OSError if a port is not available.
    """
    server = settings.server
    stop = stop_by_signal()
    metrics = WorkerMetrics(dropped_lines)
    with (
        shared_port(server.host, server.port) as port,
        tempfile.TemporaryDirectory(prefix="draftline-", dir=short_base(LONGEST_SOCKET_NAME)) as sockets,
    ):
        observer = _WorkerObserver(settings.replaced(port=port), url, revision, metrics, Path(sockets))
        async with _serving_metrics(metrics, settings) as metrics_port:

            def serving() -> None:
                structlog.get_logger().info(
                    "serving",
                    address=f"{server.host}:{port}",
                    metrics_port=metrics_port,
                    workers=server.workers,
                )

            await supervise(
                server.workers, observer, stop=stop, serving=serving,
                drain_timeout_s=server.drain_timeout_s, worker_timeout_s=server.worker_timeout_s,
            )  # fmt: skip


@asynccontextmanager
async def _serving_metrics(metrics: WorkerMetrics, settings: Settings) -> AsyncIterator[int | None]:
    address = metrics_address(settings.metrics)
    if address is None:
        yield None
        return
    port = await metrics.start(address)
    try:
        yield port
    finally:
        await metrics.close()
