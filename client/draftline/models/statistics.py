"""Models of statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, overload

from draftline.models.str_enum import StrEnum


class Grain(StrEnum):
    """The size of the groups into which a date divides records."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class StatisticState(StrEnum):
    """The state of a statistic."""

    BUILDING = "building"  # being built, or queued
    READY = "ready"
    INVALID = "invalid"  # not in use, because the records form too many groups


class StatisticFunction(StrEnum):
    """A function of the values of a group."""

    COUNT = "count"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    COUNT_DISTINCT = "count_distinct"


class StatisticSide(StrEnum):
    """The records that a value is computed from."""

    BASELINE = "baseline"  # without drafts
    MERGED = "merged"  # with the caller's drafts applied
    DIFFERENCE = "difference"  # merged less baseline


class StatisticComparison(StrEnum):
    """A comparison of numbers."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


@dataclass(frozen=True)
class StatisticKey:
    """A field by which records are grouped."""

    path: str  # of a declared field of type text, number, boolean or date: "/Major Genre"
    grain: Grain | str | None = None  # of a date; None: each value is a group


@dataclass(frozen=True)
class DeclaredStatistic:
    """A statistic that every write keeps up to date."""

    name: str
    group_by: tuple[StatisticKey | str, ...] = ()  # 1 to 3; with `range_by`, 0 to 2
    measures: tuple[str, ...] = ()  # the paths of the number fields to sum, at most 4
    range_by: str = ""  # the path of a number or date that filters compare with any values


@dataclass(frozen=True)
class CollectionStatistic:
    """A statistic that a collection spec declares, with its state."""

    statistic: DeclaredStatistic
    state: StatisticState
    group_count: int = 0  # groups of records when it was built or last folded
    record_count: int = 0  # records that a running build has read so far, estimated
    record_total: int = 0  # records that existed when the build began; 0: no build is running


@dataclass(frozen=True)
class StatisticOrder:
    """One key of the order of groups. Null comes last in both directions."""

    by: str  # a measure or a group key, as it was requested: "sum(/Worldwide Gross)"
    descending: bool = False
    side: StatisticSide | str = StatisticSide.MERGED


@dataclass(frozen=True)
class StatisticCondition:
    """A condition on a measure of a group."""

    measure: str  # as it was requested: "sum(/Worldwide Gross)"
    comparison: StatisticComparison | str
    value: int | float | Decimal
    side: StatisticSide | str = StatisticSide.MERGED


@dataclass(frozen=True)
class StatisticGroup:
    """A group of records: values by the names of group keys and measures as they were requested. None: no value."""

    keys: Mapping[str, Any]
    baseline: Mapping[str, Any]
    merged: Mapping[str, Any]
    difference: Mapping[str, Any]


class StatisticGroups(Sequence[StatisticGroup]):
    """Groups that are stored as columns by the names of keys and measures; each is created when it is read."""

    __slots__ = ("_sides", "_size")

    def __init__(
        self,
        size: int,
        keys: Mapping[str, Sequence[Any]],
        baseline: Mapping[str, Sequence[Any]],
        merged: Mapping[str, Sequence[Any]],
        difference: Mapping[str, Sequence[Any]],
    ) -> None:
        self._size = size
        self._sides = (keys, baseline, merged, difference)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> StatisticGroup: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[StatisticGroup, ...]: ...

    def __getitem__(self, index: int | slice) -> StatisticGroup | tuple[StatisticGroup, ...]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(self._size)))
        if not -self._size <= index < self._size:
            raise IndexError(f"there are {self._size:,} groups")
        return StatisticGroup(*({name: column[index] for name, column in side.items()} for side in self._sides))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(tuple(self))

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns, as `Statistics.columns` does."""
        keys, baseline, merged, difference = self._sides
        named = {
            **keys,
            **merged,
            **{f"{name} baseline": column for name, column in baseline.items()},
            **{f"{name} difference": column for name, column in difference.items()},
        }
        return {name: list(column) for name, column in named.items()}


@dataclass(frozen=True)
class Statistics:
    """Groups of records, with exact numbers: int, and float or Decimal as in the content of records."""

    groups: Sequence[StatisticGroup]
    truncated: bool = False  # there are more groups
    statistic: str = ""  # the name of the statistic that was read; empty: all records were read

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat dictionary for each group, for example for `pandas.DataFrame`.

        A measure has three entries: `sum(/Gross)` of the merged records, `sum(/Gross) baseline` and
        `sum(/Gross) difference`.
        """
        if isinstance(self.groups, StatisticGroups):
            columns = self.groups.columns()
            return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return [
            {
                **each.keys,
                **each.merged,
                **{f"{name} baseline": value for name, value in each.baseline.items()},
                **{f"{name} difference": value for name, value in each.difference.items()},
            }
            for each in self.groups
        ]

    def columns(self) -> dict[str, list[Any]]:
        """Return a list of values for each entry of `rows()`, also for `pandas.DataFrame`.

        It is faster than `rows()` for thousands of groups. Without groups, it still has the columns.
        """
        if isinstance(self.groups, StatisticGroups):
            return self.groups.columns()
        rows = self.rows()
        return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
