"""Counts of the workers of syncs in one process, for metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from weakref import WeakSet

from draftline.upstreams import (
    BatchRefusedError,
    CursorExpiredError,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
)

from ..domain.sync import Effect, MergeResult, Verdict
from ..observability.telemetry import Distribution
from .breaker import Breaker

REQUESTS = ("write", "lookup", "changes", "snapshot")
REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
FAILURES = {
    BatchRefusedError: "refused",
    CursorExpiredError: "cursor_expired",
    ThrottledError: "throttled",
    TimeoutError: "timeout",
    UnauthorizedError: "unauthorized",
    UnreachableError: "unreachable",
}
OTHER = "other"
LATE = "LATE"  # another worker has settled the attempt
DEFERRALS = ("NEWER_KNOWN", "ATTEMPT_OUT", "WENT_BACK")


class SyncCounters:
    """Counts since the process started, of all tenants together.

    All series exist from the start, because otherwise the first increase of a counter would not be visible.
    """

    def __init__(self) -> None:
        self.running = 0  # syncs that this process works on
        self.breakers: WeakSet[Breaker] = WeakSet()
        self.pushed_records: Counter[str] = Counter(dict.fromkeys((*Effect, LATE), 0))
        self.pulled_records: Counter[str] = Counter(dict.fromkeys(Verdict, 0))
        self.deferred_records: Counter[str] = Counter(dict.fromkeys(DEFERRALS, 0))
        self.overruled_records = 0
        self.request_s = {kind: Distribution(REQUEST_S) for kind in REQUESTS}
        self.failures = {kind: Counter(dict.fromkeys((*FAILURES.values(), OTHER), 0)) for kind in REQUESTS}

    @property
    def open_breakers(self) -> int:
        """The number of syncs of this process whose upstream fails, so that one request at a time tries it."""
        return sum(breaker.is_open for breaker in self.breakers)

    def pushed(self, effect: str) -> None:
        self.pushed_records[effect] += 1

    def merged(self, results: Iterable[MergeResult]) -> None:
        for each in results:
            self.pulled_records[each.verdict] += 1
            self.overruled_records += each.is_overruled
            if each.deferral:
                self.deferred_records[each.deferral] += 1

    @contextmanager
    def request(self, kind: str) -> Iterator[None]:
        """Count a request to an upstream, its duration, and its failure."""
        started = time.monotonic()
        try:
            yield
        except Exception as error:
            self.failures[kind][FAILURES.get(type(error), OTHER)] += 1
            raise
        finally:
            self.request_s[kind].observe(time.monotonic() - started)
