"""Statistics computed in Python from the records of lists."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
from draftline_server.domain.filters.ast import FieldType
from draftline_server.domain.statistics import Function, KeyType, Measure, StatisticsResult

from .filter_oracle import MISSING, _fits, typed, value_at

_decode = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True)
class Group:
    """The JSON texts of a group: of its keys, and of its measures for each side."""

    keys: list[str]
    baseline: list[str]
    merged: list[str]
    difference: list[str]


def groups_of(result: StatisticsResult) -> list[Group]:
    """Return the columns of an answer as groups."""
    sides = [
        [[bytes(each).decode() for each in _decode(column)] for column in side]
        for side in (result.keys, result.baseline, result.merged, result.difference)
    ]
    assert {len(column) for side in sides for column in side} <= {result.size}
    return [Group(*([column[index] for column in side] for side in sides)) for index in range(result.size)]


Contents = Sequence[dict[str, Any]]


def key_of(content: Any, path: Sequence[str], type_: KeyType) -> Any:
    """Return the value of a group key; None if it is missing or of another type."""
    is_date = type_ in (KeyType.DATE, KeyType.MONTH, KeyType.YEAR)
    value = typed(value_at(content, tuple(path)), FieldType.DATE if is_date else FieldType(type_))
    if value is MISSING or value is None:
        return None
    if (type_ is KeyType.NUMBER and not _fits(value)) or (type_ is KeyType.TEXT and len(value.encode()) > 800):
        return None
    sizes = {KeyType.DATE: 10, KeyType.MONTH: 7, KeyType.YEAR: 4}
    return value.date().isoformat()[: sizes[type_]] if is_date else value


def value_of(measure: Measure, contents: Contents, type_: KeyType | None) -> Any:
    """Return a measure of some contents; None if it has no value."""
    if not measure.path:
        return len(contents)
    assert type_ is not None
    values = [value for each in contents if (value := key_of(each, measure.path, type_)) is not None]
    match measure.function:
        case Function.COUNT:
            return len(values)
        case Function.SUM:
            return sum(map(Fraction, values))
        case Function.COUNT_DISTINCT:
            return len(set(values))
        case Function.MIN:
            return min(values, default=None)
        case Function.MAX:
            return max(values, default=None)
    return (sum(map(Fraction, values)), len(values)) if values else None


def grouped(
    contents: Contents, keys: Sequence[tuple[Sequence[str], KeyType]], is_kept: Callable[[dict[str, Any]], bool]
) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Return the contents by the values of their keys."""
    found = defaultdict(list)
    for content in contents:
        if is_kept(content):
            found[tuple(key_of(content, path, type_) for path, type_ in keys)].append(content)
    return found


def read(text: str) -> Any:
    """Return a JSON value with exact numbers."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)
