"""Statistics: what a collection declares, and what a caller asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from .edits import format_pointer
from .errors import InvalidFieldError
from .filters.ast import FieldType, Filter, Path, Restriction
from .values import value_class

MAX_KEYS = 3
MAX_MEASURES = 4


class KeyType(StrEnum):
    """The type of a group key. A date is cut to its month or year."""

    TEXT = "TEXT"
    NUMBER = "NUMBER"
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"
    MONTH = "MONTH"
    YEAR = "YEAR"
    NUMBER_RANGE = "NUMBER_RANGE"  # a filter compares it with any value, and nothing else reads it
    DATE_RANGE = "DATE_RANGE"


RANGES = (KeyType.NUMBER_RANGE, KeyType.DATE_RANGE)
RANGES_OF: Mapping[KeyType, KeyType] = {KeyType.NUMBER: KeyType.NUMBER_RANGE, KeyType.DATE: KeyType.DATE_RANGE}
# The number of characters that the text of a date key has.
DATE_SIZES: Mapping[KeyType, int] = {KeyType.DATE: 10, KeyType.MONTH: 7, KeyType.YEAR: 4}
_TYPES = {
    FieldType.TEXT: KeyType.TEXT,
    FieldType.NUMBER: KeyType.NUMBER,
    FieldType.BOOLEAN: KeyType.BOOLEAN,
    FieldType.DATE: KeyType.DATE,
}


class Grain(StrEnum):
    """The size of the groups of dates. VALUE: each value is a group."""

    VALUE = "VALUE"
    DAY = "DAY"
    MONTH = "MONTH"
    YEAR = "YEAR"


class StatisticState(StrEnum):
    BUILDING = "BUILDING"
    READY = "READY"
    INVALID = "INVALID"


@value_class
class StatisticKey:
    path: Path
    type: KeyType


@value_class
class StatisticSpec:
    """A declared statistic: its group keys, of which the first may be a range, and the number fields that it sums."""

    name: str
    keys: tuple[StatisticKey, ...]
    measures: tuple[Path, ...]


class Function(StrEnum):
    COUNT = "COUNT"
    SUM = "SUM"
    AVG = "AVG"
    MIN = "MIN"
    MAX = "MAX"
    COUNT_DISTINCT = "COUNT_DISTINCT"


class Side(StrEnum):
    """The contents that a value is of: of the baseline, of the merged view, or the second less the first."""

    BASELINE = "BASELINE"
    MERGED = "MERGED"
    DIFFERENCE = "DIFFERENCE"


@value_class
class Measure:
    """A function of a field. COUNT without a path counts records."""

    function: Function
    path: Path = ()


@value_class
class GroupOrder:
    """An order of groups: by a key, or by a measure of a side. `index` is its position in the query."""

    index: int
    side: Side | None  # None: by a key
    descending: bool


@value_class
class GroupCondition:
    """A condition that a measure of a group must satisfy. A missing value satisfies none."""

    index: int
    side: Side
    operator: str  # = != < <= > >=
    value: Decimal


@value_class
class StatisticsQuery:
    collection: str
    group_by: tuple[tuple[Path, Grain], ...] = ()
    measures: tuple[Measure, ...] = ()
    filter: Filter[Restriction] | None = None
    order: tuple[GroupOrder, ...] = ()
    having: tuple[GroupCondition, ...] = ()
    limit: int = 1_000
    allow_scan: bool = False


Columns: TypeAlias = Sequence[str]  # JSON arrays of texts, numbers, booleans and null


@value_class
class StatisticsResult:
    """The groups of a query, as columns: of each key, and of each measure for each side.

    `statistic` is the name of the one that was read; empty: the records were scanned.
    """

    size: int  # groups
    keys: Columns
    baseline: Columns
    merged: Columns
    difference: Columns
    is_truncated: bool
    statistic: str = ""


def key_type(path: Path, grain: Grain, fields: Mapping[Path, FieldType], where: str) -> KeyType:
    """Return the type of a group key. Raise InvalidFieldError if its field is not declared or cannot be grouped so."""
    if path not in fields:
        raise InvalidFieldError.of(f"{where}.path", f"{format_pointer(path)} is not a declared field")
    type_ = fields[path]
    if type_ not in _TYPES:
        raise InvalidFieldError.of(f"{where}.path", f"{format_pointer(path)} is a {type_}, which cannot be a group key")
    if grain in (Grain.MONTH, Grain.YEAR) and type_ is not FieldType.DATE:
        raise InvalidFieldError.of(f"{where}.grain", f"{format_pointer(path)} is not a DATE")
    if grain is Grain.DAY and type_ is not FieldType.DATE:
        raise InvalidFieldError.of(f"{where}.grain", f"{format_pointer(path)} is not a DATE")
    return KeyType(grain) if grain in (Grain.MONTH, Grain.YEAR) else _TYPES[type_]


def check_number(path: Path, fields: Mapping[Path, FieldType], where: str) -> None:
    """Raise InvalidFieldError unless the path is a declared number."""
    if fields.get(path) is not FieldType.NUMBER:
        raise InvalidFieldError.of(where, f"{format_pointer(path)} is not a declared field of type NUMBER")


def declare_statistics(
    statistics: Sequence[tuple[str, Sequence[tuple[Path, Grain]], Sequence[Path], Path]],
    fields: Mapping[Path, FieldType],
) -> tuple[StatisticSpec, ...]:
    """Return checked specs of statistics, each given by name, keys, measures and its range (empty: none)."""
    specs: list[StatisticSpec] = []
    for index, (name, keys, measures, ranged) in enumerate(statistics):
        where = f"statistics[{index}]"
        if name in {spec.name for spec in specs}:
            raise InvalidFieldError.of(f"{where}.name", f"{name!r} is the name of two statistics")
        if len({path for path, _ in keys}) < len(keys):
            raise InvalidFieldError.of(f"{where}.group_by", "must name each field once")
        if len(set(measures)) < len(measures):
            raise InvalidFieldError.of(f"{where}.measures", "must name each field once")
        typed = [
            StatisticKey(path, key_type(path, grain, fields, f"{where}.group_by[{number}]"))
            for number, (path, grain) in enumerate(keys)
        ]
        for number, path in enumerate(measures):
            check_number(path, fields, f"{where}.measures[{number}]")
        if ranged:
            typed.insert(0, _range(ranged, typed, fields, where))
        if not typed:
            raise InvalidFieldError.of(f"{where}.group_by", "must name a field, unless range_by does")
        specs.append(StatisticSpec(name, tuple(typed), tuple(measures)))
    return tuple(specs)


def _range(path: Path, keys: Sequence[StatisticKey], fields: Mapping[Path, FieldType], where: str) -> StatisticKey:
    ranged = RANGES_OF.get(_TYPES[fields[path]]) if fields.get(path) in _TYPES else None
    if ranged is None:
        problem = f"{format_pointer(path)} is not a declared field of type NUMBER or DATE"
        raise InvalidFieldError.of(f"{where}.range_by", problem)
    if path in {key.path for key in keys}:
        raise InvalidFieldError.of(
            f"{where}.range_by", f"{format_pointer(path)} is also in group_by; remove one of them"
        )
    if len(keys) == MAX_KEYS:
        raise InvalidFieldError.of(f"{where}.group_by", f"may have at most {MAX_KEYS - 1} keys besides range_by")
    return StatisticKey(path, ranged)
