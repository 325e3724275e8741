"""The metrics of several worker processes, combined as those of one service.

Each worker serves its own metrics on a Unix socket (http_endpoints.py); they are summed up here. The counts of an ended
worker are retained, because Prometheus takes a counter that decreases for a restarted one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from http import HTTPStatus
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from .http_endpoints import Address, MonitoringServer

TIMEOUT_S = 2.0  # timeout for the response of a worker
# Metrics that are not summed up, and the function that combines the values of the workers instead.
COMBINED_BY = {
    "draftline_build_info": max,
    "draftline_clock_skew_seconds": max,
    "draftline_database_read_only": max,
    "process_start_time_seconds": min,
    "process_max_fds": min,
}
NOT_SCRAPED: tuple[int, list[Metric]] = (0, [])  # before the first scrape

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class WorkerMetrics:
    """Serves the combined metrics of all workers. Not thread-safe."""

    def __init__(self, dropped_lines: Callable[[], int] = lambda: 0) -> None:
        """Create metrics without workers. `dropped_lines` counts dropped log lines of this process, the supervisor."""
        self._dropped_lines = dropped_lines
        self._sockets: dict[str, Path] = {}
        self._scrapes = 0
        self._last: dict[str, tuple[int, list[Metric]]] = {}  # each worker's last metrics, and their scrape
        self._ended_counts: list[Metric] = []  # the counts of ended workers
        self._ended = 0
        self._hung = 0
        self._monitoring = MonitoringServer(self.text, self.is_ready, self.warnings)

    async def start(self, address: Address) -> int:
        """Listen on an address and return the port (see MonitoringServer.start)."""
        return await self._monitoring.start(address)

    async def close(self) -> None:
        await self._monitoring.close()

    def began(self, worker: str, socket: Path) -> None:
        """Add a started worker under a unique name. It need not listen yet."""
        self._sockets[worker] = socket

    def ended(self, worker: str) -> None:
        """Remove an ended worker and retain its counts."""
        if self._sockets.pop(worker, None) is not None:
            self._ended += 1
            counts = [metric for metric in self._last.pop(worker, NOT_SCRAPED)[1] if metric.type != "gauge"]
            self._ended_counts = list(summed([self._ended_counts, counts]))

    def hung(self, worker: str) -> None:
        """Count a worker that is killed because it hangs."""
        self._hung += worker in self._sockets

    async def is_ready(self) -> bool:
        """Return whether a worker is ready and none is silent. A hanging worker still gets new connections."""
        answers = await asyncio.gather(*(_readiness(socket) for socket in self._sockets.values()))
        return _Readiness.READY in answers and _Readiness.SILENT not in answers

    async def warnings(self) -> list[str]:
        """Return the warnings of ready workers without duplicates."""
        pages = await asyncio.gather(*(_get_page(socket, "/readyz") for socket in self._sockets.values()))
        lines = [line for page in pages if page is not None for line in page.decode().splitlines()[1:]]
        return list(dict.fromkeys(lines))

    async def text(self) -> bytes:
        """Return the metrics in the text format of Prometheus.

        A worker that does not answer contributes its last values.
        """
        sockets = dict(self._sockets)
        self._scrapes += 1
        scrape = self._scrapes
        answers = await asyncio.gather(*(_get_page(socket, "/metrics") for socket in sockets.values()))
        scraped = dict(zip(sockets, answers, strict=True))
        for worker, text in scraped.items():
            is_newer = scrape > self._last.get(worker, NOT_SCRAPED)[0]  # than the result of a concurrent scrape
            if text is not None and worker in self._sockets and is_newer:
                self._last[worker] = (scrape, list(text_string_to_metric_families(text.decode())))
        answering = sum(answer is not None for answer in answers)
        own: list[Metric] = [
            GaugeMetricFamily("draftline_workers", "Worker processes that respond.", answering),
            CounterMetricFamily("draftline_workers_ended", "Worker processes that exited.", self._ended),
            CounterMetricFamily(
                "draftline_workers_hung", "Worker processes killed because they did not respond.", self._hung
            ),
        ]
        dropped: list[Metric] = [
            CounterMetricFamily(
                "draftline_log_lines_dropped",
                "Log lines dropped because standard error was not read fast enough.",
                self._dropped_lines(),
            )
        ]
        registry = CollectorRegistry()
        last_scraped = (metrics for _, metrics in self._last.values())
        registry.register(_Families([*own, *summed([dropped, self._ended_counts, *last_scraped])]))
        return generate_latest(registry)


class _Families:
    """A collector for fixed metric families."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def summed(scraped: Iterable[Iterable[Metric]]) -> Iterator[Metric]:
    """Yield the metrics of several processes with their samples summed, in the order of first appearance.

    Samples in COMBINED_BY are combined by their function instead.
    """
    families: dict[str, Metric] = {}
    values: dict[str, Values] = {}
    for metric in (metric for metrics in scraped for metric in metrics):
        families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
        samples = values.setdefault(metric.name, {})
        for sample in metric.samples:
            key = (sample.name, tuple(sample.labels.items()))
            combine = COMBINED_BY.get(sample.name)
            if key not in samples:
                samples[key] = sample.value
            else:
                samples[key] = combine(samples[key], sample.value) if combine else samples[key] + sample.value
    for name, family in families.items():
        for (sample_name, labels), value in values[name].items():
            family.add_sample(sample_name, dict(labels), value)
        yield family


class _Readiness(Enum):
    READY = auto()
    NOT_READY = auto()  # or not listening: it accepts no connections, or rejects calls itself
    SILENT = auto()


async def _readiness(socket: Path) -> _Readiness:
    try:
        status, _ = await _http_get(socket, "/readyz", TIMEOUT_S)
    except TimeoutError:
        return _Readiness.SILENT
    except OSError:
        return _Readiness.NOT_READY
    return _Readiness.READY if status == HTTPStatus.OK else _Readiness.NOT_READY


async def _get_page(socket: Path, page: str) -> bytes | None:
    """Return a page of a worker; None if it does not answer or is not ready."""
    try:
        status, body = await _http_get(socket, page, TIMEOUT_S)
    except (OSError, TimeoutError):
        return None
    return body if status == 200 else None


async def _http_get(path: Path, page: str, timeout_s: float) -> tuple[int, bytes]:
    """Return the status and body of a page from a process that listens on a Unix socket.

    Raises OSError if there is no valid response, and TimeoutError if it takes longer than `timeout_s`.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(f"GET {page} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
    try:
        return int(head.split(b" ", 2)[1]), body
    except (IndexError, ValueError):
        raise OSError("no answer came") from None
