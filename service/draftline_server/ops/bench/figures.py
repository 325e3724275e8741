"""What was measured: figures by name, taken once a round, of which the median counts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

PERCENTILES = (50, 95, 99)


@dataclass(slots=True)
class Figure:
    """A value a round and, where calls were timed, how long they took."""

    name: str
    unit: str
    limit: str = ""  # the figure that is the most this one could be, or the least
    values: list[float] = field(default_factory=list)
    latencies_s: list[Sequence[float]] = field(default_factory=list)  # of a round, in order

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    def latency_ms(self, percent: int) -> float:
        """The nearest rank of each round, and the median of these; NaN if no call was timed."""
        ranks = [
            ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] for ordered in self.latencies_s if ordered
        ]
        return statistics.median(ranks) * 1000 if ranks else math.nan


class Figures:
    """All that was measured, in the order of its first round; `added` is told the latest."""

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
        """Calls one after another: their median, in milliseconds."""
        self.add(name, "ms", statistics.median(times_s) * 1000, latencies_s=times_s, limit=limit)

    def value(self, name: str) -> float:
        return self._figures[name].value

    def latency_ms(self, name: str, percent: int = 50) -> float:
        return self._figures[name].latency_ms(percent)

    def limit_of(self, figure: Figure) -> float | None:
        """The value that it is held against, from the same run."""
        return self.value(figure.limit) if figure.limit in self._figures else None
