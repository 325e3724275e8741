"""What can be measured, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class Part(Enum):
    """What can be measured by itself."""

    IMPORTS = "imports"
    MERGED = "merged"
    PATCHES = "patches"
    WATCH = "watch"
    WORKERS = "workers"


ALL = tuple(Part)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, and for how long."""

    records: int = 1_000_000  # that are patched, and in the largest merged list
    imported: int = 100_000
    rounds: int = 3
    seconds: float = 3.0  # of each figure in each round
    warm_up_s: float = 0.5
    concurrencies: tuple[int, ...] = (1, 16, 64, 128)  # with 1 among them; the ratios go by 1 and by the highest
    lists: tuple[int, ...] = (10_000, 100_000)  # records of the smaller merged lists
    own_drafts: tuple[int, ...] = (0, 50, 5_000)
    other_drafts: int = 100_000  # by others, in each list; in a shorter one for every tenth record
    deep: int = 1_000  # the page that is deep in the list; a quarter of the records is on that
    page_rounds: int = 60  # short ones: a burst of load lasts for seconds
    watchers: int = 1_000

    @classmethod
    def of(cls, *, quick: bool, **given: Any) -> Sizes:
        """The real thing, or a tenth and less of it for a look."""
        few = cls(
            records=100_000, imported=20_000, rounds=1, seconds=1.0, warm_up_s=0.3, concurrencies=(1, 16, 128),
            lists=(20_000,), other_drafts=10_000, deep=200, page_rounds=15, watchers=200,
        )  # fmt: skip
        return replace(few if quick else cls(), **given)

    @property
    def top(self) -> int:
        return max(self.concurrencies)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of the merged lists, the shortest first."""
        return (*(length for length in self.lists if length < self.records), self.records)
