"""Measured figures by name: one value per round, of which the median counts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

PERCENTILES = (50, 95, 99)


@dataclass(slots=True)
class Measurement:
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


class Measurements:
    """All figures in the order in which they were first added; `added` is called with each updated figure."""

    def __init__(self, added: Callable[[Measurement], None] = lambda _: None) -> None:
        self._measurements: dict[str, Measurement] = {}
        self._added = added

    def __iter__(self) -> Iterator[Measurement]:
        return iter(self._measurements.values())

    def __contains__(self, name: str) -> bool:
        return name in self._measurements

    def add(self, name: str, unit: str, value: float, *, latencies_s: Sequence[float] = (), limit: str = "") -> None:
        measurement = self._measurements.setdefault(name, Measurement(name, unit, limit))
        measurement.values.append(value)
        measurement.latencies_s.append(sorted(latencies_s))
        self._added(measurement)

    def add_times(self, name: str, times_s: Sequence[float], *, limit: str = "") -> None:
        """Add the median, in milliseconds, of calls that were made one after another."""
        self.add(name, "ms", statistics.median(times_s) * 1000, latencies_s=times_s, limit=limit)

    def value(self, name: str) -> float:
        return self._measurements[name].value

    def latency_ms(self, name: str, percent: int = 50) -> float:
        return self._measurements[name].latency_ms(percent)

    def limit_of(self, measurement: Measurement) -> float | None:
        """Return the value of the figure that bounds this one, or None if it was not measured."""
        return self.value(measurement.limit) if measurement.limit in self._measurements else None
