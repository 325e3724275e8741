"""Measured figures by name: one value per round, of which the median counts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

PERCENTILES = (50, 95, 99)


@dataclass(slots=True)
class Figure:
    """One value per round and, if calls were timed, their latencies."""

    name: str
    unit: str
    limit: str = ""  # the name of the figure that bounds this one
    values: list[float] = field(default_factory=list)
    latencies_s: list[Sequence[float]] = field(default_factory=list)  # one sorted sequence per round

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    def latency_ms(self, percent: int) -> float:
        """Return the median over rounds of each round's percentile (nearest rank); NaN if no call was timed."""
        ranks = [
            ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] for ordered in self.latencies_s if ordered
        ]
        return statistics.median(ranks) * 1000 if ranks else math.nan


class Figures:
    """All figures in the order in which they were first added; `added` is called with each updated figure."""

    def __init__(self, added: Callable[[Figure], None] = lambda _: None) -> None:
        self._figures: dict[str, Figure] = {}
        self._added = added

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._figures.values())

    def __contains__(self, name: str) -> bool:
        return name in self._figures

    def add(self, name: str, unit: str, value: float, *, latencies_s: Sequence[float] = (), limit: str = "") -> None:
        figure = self._figures.setdefault(name, Figure(name, unit, limit))
        figure.values.append(value)
        figure.latencies_s.append(sorted(latencies_s))
        self._added(figure)

    def add_times(self, name: str, times_s: Sequence[float], *, limit: str = "") -> None:
        """Add the median, in milliseconds, of calls that were made one after another."""
        self.add(name, "ms", statistics.median(times_s) * 1000, latencies_s=times_s, limit=limit)

    def value(self, name: str) -> float:
        return self._figures[name].value

    def latency_ms(self, name: str, percent: int = 50) -> float:
        return self._figures[name].latency_ms(percent)

    def limit_of(self, figure: Figure) -> float | None:
        """Return the value of the figure that bounds this one, or None if it was not measured."""
        return self.value(figure.limit) if figure.limit in self._figures else None
