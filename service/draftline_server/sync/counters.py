"""Counters of the workers of syncs, for metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from ..domain.sync import MergeResult


class SyncCounters:
    """Counts since the process started, of all tenants together."""

    def __init__(self) -> None:
        self.pushes: Counter[str] = Counter()  # by outcome
        self.pulled: Counter[str] = Counter()  # by verdict
        self.deferred: Counter[str] = Counter()  # by reason
        self.overruled = 0
        self.requests: Counter[str] = Counter()  # by kind
        self.request_s: defaultdict[str, float] = defaultdict(float)  # by kind

    def pushed(self, effect: str) -> None:
        self.pushes[effect] += 1

    def merged(self, results: Iterable[MergeResult]) -> None:
        for each in results:
            self.pulled[each.verdict] += 1
            self.overruled += each.is_overruled
            if each.deferral:
                self.deferred[each.deferral] += 1

    def request_ended(self, kind: str, duration_s: float) -> None:
        self.requests[kind] += 1
        self.request_s[kind] += duration_s
