"""What a benchmark prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Limit:
    """What a ratio tells, and within what it should be."""

    what: str
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{words} {bound:g}" for words, bound in bounds if bound is not None)

    def holds(self, value: float) -> bool:
        low, high = self.at_least, self.at_most
        return (low is None or value >= low) and (high is None or value <= high)


def ratios(rows: Iterable[tuple[str, Limit, float]]) -> Table:
    """Ratios by name, with their limits; one that is missed stands out."""
    table = Table("ratio", "what", title="Ratios", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("limit")
    for name, limit, value in rows:
        missed = "" if limit.holds(value) else ": missed"
        table.add_row(name, limit.what, f"{value:.2f}", f"{limit}{missed}", style="red" if missed else None)
    return table


def milliseconds(found: Mapping[str, float], title: str) -> Table:
    table = Table("figure", title=title, title_justify="left")
    table.add_column("ms", justify="right")
    for name, value in found.items():
        table.add_row(name, f"{value:,.2f}")
    return table
