"""The pace of a copy: batches of about the same time, and rests by the latency of the service or by a rate."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..ops.metrics_client import DURATION, Between, Scrape, ScrapeError, quantile, scrape
from .definitions import LayoutError

BATCH_S = 0.05  # an open transaction that writes holds up watchers
MIN_ROWS, MAX_ROWS, FIRST_ROWS = 20, 5_000, 500
SCRAPE_S = 2.0
REST = 1.0  # rests as long as a batch took, which leaves half of the machine
MAX_REST = 32.0
STREAMS = ("Watch", "Import", "Export", "Stream")


@dataclass(slots=True)
class Pace:
    """The number of rows of the next batch, and the rest after a batch.

    `metrics_url` with `max_p99_ms`: rest longer while the 99th percentile of the service's calls is above it.
    """

    metrics_url: str | None = None
    max_p99_ms: float = 250.0
    rows_per_s: float | None = None
    rows: int = FIRST_ROWS
    rest: float = REST
    p99_ms: float | None = None  # of the last interval
    problem: str | None = None  # why the metrics could not be read
    report: Callable[[str], None] = lambda _: None
    _before: Scrape | None = None
    _next_scrape_s: float = field(default_factory=time.monotonic)

    async def begin(self, report: Callable[[str], None]) -> None:
        """Read the metrics for the first time. Raise LayoutError if they cannot be read."""
        self.report = report
        await self._look_at_service()
        if self.problem is not None:
            raise LayoutError(f"--metrics cannot be read: {self.problem}", "correct the URL, or leave the option out")

    def locked(self) -> None:
        """Make the next batch smaller, because a row of this one was locked."""
        self.rows = max(MIN_ROWS, self.rows // 2)

    async def after(self, rows: int, took_s: float) -> None:
        """Rest after a batch, and choose the size of the next one."""
        factor = min(2.0, max(0.5, BATCH_S / max(took_s, 1e-6)))
        self.rows = int(min(MAX_ROWS, max(MIN_ROWS, self.rows * factor)))
        await self._look_at_service()
        rest_s = took_s * self.rest
        if self.rows_per_s:
            rest_s = max(rest_s, rows / self.rows_per_s - took_s)
        await asyncio.sleep(min(rest_s, 10.0))

    async def _look_at_service(self) -> None:
        if self.metrics_url is None or time.monotonic() < self._next_scrape_s:
            return
        self._next_scrape_s = time.monotonic() + SCRAPE_S
        try:
            now = await asyncio.to_thread(scrape, self.metrics_url)
        except ScrapeError as error:  # without figures, as carefully as if the service were slow
            if self.problem is None:
                self.report(f"copying slowly, because the metrics of the service cannot be read: {error}")
            self.problem, self._before, self.rest = str(error), None, max(self.rest, 4 * REST)
            return
        self.problem = None
        if self._before is not None:
            self.adapt(call_p99_ms(Between(self._before, now)))
        self._before = now

    def adapt(self, p99_ms: float | None) -> None:
        """Rest longer after each interval above the limit, and shorter after each one well below it."""
        self.p99_ms = p99_ms
        if p99_ms is not None and p99_ms > self.max_p99_ms:
            self.rest = min(MAX_REST, max(self.rest, 0.5) * 2)
            self.report(f"copying more slowly: the p99 of calls is {p99_ms:,.0f} ms, the limit {self.max_p99_ms:g} ms")
        elif p99_ms is None or p99_ms < self.max_p99_ms / 2:
            self.rest = max(0.25, self.rest * 0.8)


def call_p99_ms(between: Between) -> float | None:
    """Return the 99th percentile of the durations of calls that are not streams; None if no call ended."""
    buckets: dict[float, float] = {}
    for labels, more in between.grown(f"{DURATION}_bucket").items():
        values = dict(labels)
        if not values["grpc_method"].rpartition("/")[2].startswith(STREAMS):
            bound = float(values["le"])
            buckets[bound] = buckets.get(bound, 0.0) + more
    found = quantile(buckets, 0.99)
    return None if found is None or math.isnan(found) else found * 1000
