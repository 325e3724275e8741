"""The parts and sizes of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class Part(Enum):
    """A part of the benchmark that can run alone."""

    DECLARE = "declare"
    IMPORTS = "imports"
    MERGED = "merged"
    PARTITIONS = "partitions"
    PATCHES = "patches"
    RELATIONS = "relations"
    STATISTICS = "statistics"
    SYNC = "sync"
    WATCH = "watch"
    WORKERS = "workers"


ALL = tuple(Part)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes and durations of a benchmark."""

    records: int = 1_000_000  # in the patched collection, and in the longest merged list
    imported: int = 100_000
    tallied: int = 100_000  # in each collection that is patched with and without statistics
    rounds: int = 3
    seconds: float = 3.0  # for each figure in each round
    warm_up_s: float = 0.5
    concurrencies: tuple[int, ...] = (1, 16, 64, 128)  # must include 1; the ratios use 1 and the highest
    lists: tuple[int, ...] = (10_000, 100_000)  # lengths of the shorter merged lists
    own_drafts: tuple[int, ...] = (0, 50, 5_000)
    other_drafts: int = 100_000  # by other users, in each list; at most one for every tenth record
    deep: int = 1_000  # number of the deep page, in lists that are long enough; see deep_page
    page_rounds: int = 60  # short rounds, because bursts of other load last for seconds
    watchers: int = 1_000
    synced: int = 100_000  # in the collection that is read from a system of record
    pushed: int = 20_000  # at most; written to a system of record
    commits: int = 200  # that are followed to a system of record

    @classmethod
    def of(cls, *, quick: bool, **given: Any) -> Sizes:
        """Return the full sizes or, if `quick`, a tenth or less of them; `given` overrides single ones."""
        few = cls(
            records=100_000, imported=20_000, tallied=10_000, rounds=1, seconds=1.0, warm_up_s=0.3,
            concurrencies=(1, 16, 128), lists=(20_000,), other_drafts=10_000, deep=200, page_rounds=15, watchers=200,
            synced=20_000, pushed=5_000, commits=50,
        )  # fmt: skip
        return replace(few if quick else cls(), **given)

    @property
    def top(self) -> int:
        return max(self.concurrencies)

    @property
    def deep_page(self) -> int:
        """The number of the deep page: a quarter of the records match the filter, a hundred of them are a page."""
        return max(1, min(self.deep, self.records // 500))

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of the merged lists, the shortest first."""
        return (*(length for length in self.lists if length < self.records), self.records)
