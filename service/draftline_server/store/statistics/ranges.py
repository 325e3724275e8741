"""Ranges of a NUMBER or DATE as sums of the nodes of a statistic.

The folded tally of such a statistic counts each record at five nodes, of which each divides the one before
(`draftline.group_nodes`): all values, those whose sort keys start alike for three lengths, and the value itself. So any
range of values is the sum of few nodes.

A filter compares the field with some values, which divide all its values into intervals. All values of an interval
compare alike, so each is read as a part of its own, and the filter becomes a condition on the part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import cast

from ...domain.filters.ast import And, FieldType, Filter, Not, Operator, Or, Path
from ...domain.filters.conditions import Comparison, Condition
from ...domain.statistics import RANGES, KeyType, StatisticSpec
from ..lists.order_keys import encoded_value

LENGTHS: Mapping[KeyType, tuple[int, ...]] = {KeyType.NUMBER_RANGE: (5, 7, 9), KeyType.DATE_RANGE: (5, 6, 7)}
ROOT, LEVELS, VALUE = "a", "bcd", "z"
# Sort keys are texts of hex digits. A key is the only one from itself up to itself + AFTER, and from a prefix up to the
# prefix + END are the keys that start with it.
AFTER, END = "!", "~"
MISSING = "ff"

Interval = tuple[str, str]  # keys from the first up to, but without, the second


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a field's values, the results of the filter's comparisons for each, and the nodes of each."""

    results: Sequence[Mapping[Comparison, bool]]
    intervals: Sequence[tuple[int, Interval]]
    nodes: Sequence[tuple[int, Interval]]

    def values(self) -> dict[str, object]:
        """Return the values of the fragment `range_rows`."""
        return {
            "node_parts": [str(part) for part, _ in self.nodes],
            "nodes_from": [low for _, (low, _) in self.nodes],
            "nodes_to": [high for _, (_, high) in self.nodes],
            "parts": [str(part) for part, _ in self.intervals],
            "parts_from": [low for _, (low, _) in self.intervals],
            "parts_to": [high for _, (_, high) in self.intervals],
        }

    def of(self, comparison: Comparison) -> list[str]:
        """Return the parts whose values compare so."""
        return [str(part) for part, results in enumerate(self.results) if results[comparison]]


def parts_of(spec: StatisticSpec, condition: Filter[Condition] | None) -> Parts | None:
    """Return the parts of the range of a statistic that a filter divides; None: the statistic has no range."""
    key = spec.keys[0] if spec.keys else None
    if key is None or key.type not in RANGES:
        return None
    compared = list(dict.fromkeys(_comparisons(condition, key.path))) if condition is not None else []
    type_ = FieldType.NUMBER if key.type is KeyType.NUMBER_RANGE else FieldType.DATE
    bounds = sorted({cast("Decimal | date", each.value) for each in compared})
    by_results: dict[tuple[bool, ...], list[Interval]] = {}
    for interval, sign in _divided(bounds, type_):
        results = tuple(_compare(each, bounds, sign) for each in compared)
        _add(by_results.setdefault(results, []), interval)
    parts = [dict(zip(compared, results, strict=True)) for results in by_results]
    intervals = [(part, each) for part, found in enumerate(by_results.values()) for each in found]
    kept = [(part, each) for part, each in intervals if condition is None or _may_hold(condition, parts[part])]
    nodes = [(part, node) for part, each in kept for node in nodes_of(each, LENGTHS[key.type])]
    return Parts(parts, kept, nodes)


def _comparisons(condition: Filter[Condition], path: Path) -> list[Comparison]:
    if isinstance(condition, And | Or):
        return [each for term in condition.terms for each in _comparisons(term, path)]
    if isinstance(condition, Not):
        return _comparisons(condition.term, path)
    return [condition] if isinstance(condition, Comparison) and condition.field.path == path else []


def _divided(bounds: Sequence[Decimal | date], type_: FieldType) -> list[tuple[Interval, int | None]]:
    """Return the intervals between and at the bounds, and for each twice the index of the bound that it is at.

    An interval before a bound has one less than the bound, and the values that are missing have None.
    """
    keys = [encoded_value(bound, type_, descending=False).hex() for bound in bounds]
    found: list[tuple[Interval, int | None]] = []
    low = ""
    for index, key in enumerate(keys):
        found += [((low, key), 2 * index - 1), ((key, key + AFTER), 2 * index)]
        low = key + AFTER
    return [*found, ((low, MISSING), 2 * len(keys) - 1), ((MISSING, MISSING + AFTER), None)]


def _compare(comparison: Comparison, bounds: Sequence[object], sign: int | None) -> bool:
    if sign is None:
        return False
    at = 2 * bounds.index(comparison.value)
    return {
        Operator.EQ: sign == at,
        Operator.NE: sign != at,
        Operator.LT: sign < at,
        Operator.LE: sign <= at,
        Operator.GT: sign > at,
        Operator.GE: sign >= at,
    }[comparison.operator]


def _add(intervals: list[Interval], interval: Interval) -> None:
    """Add an interval, to the last one if it continues that."""
    if interval[0] >= interval[1]:  # the bounds are beyond all numbers that are counted
        return
    if intervals and intervals[-1][1] == interval[0]:
        intervals[-1] = (intervals[-1][0], interval[1])
    else:
        intervals.append(interval)


def _may_hold(condition: Filter[Condition], results: Mapping[Comparison, bool]) -> bool:
    return _result(condition, results) is not False


def _result(condition: Filter[Condition], results: Mapping[Comparison, bool]) -> bool | None:
    """Return the result of a filter by those of some comparisons; None: the others decide."""
    if isinstance(condition, Not):
        found = _result(condition.term, results)
        return None if found is None else not found
    if isinstance(condition, And | Or):
        decisive = isinstance(condition, Or)
        found_of = [_result(term, results) for term in condition.terms]
        return decisive if decisive in found_of else None if None in found_of else not decisive
    return results.get(condition) if isinstance(condition, Comparison) else None


def nodes_of(interval: Interval, lengths: Sequence[int]) -> list[Interval]:
    """Return the nodes that together count an interval of sort keys, as ranges of their names."""
    low, high = interval
    if low == "" and high > MISSING:
        return [(ROOT, ROOT + AFTER)]

    def start(key: str, level: int) -> str:
        return key[: lengths[level]] if level < len(lengths) else key

    top = next((level for level in range(len(lengths)) if start(low, level) != start(high, level)), len(lengths))
    found = [_between(start(low, top), start(high, top), top, is_value=top == len(lengths))]
    for level in range(top + 1, len(lengths) + 1):
        is_value = level == len(lengths)
        if low:
            found.append(_between(start(low, level), start(low, level - 1) + END, level, is_value=is_value))
        found.append(_from(start(high, level - 1), start(high, level), level, is_value=is_value))
    return [(first, last) for first, last in found if first < last]


def _between(low: str, high: str, level: int, *, is_value: bool) -> Interval:
    """Return the nodes of a level after the one that starts with `low`, or of values from `low`, up to `high`."""
    if is_value:
        return VALUE + low, VALUE + high
    return LEVELS[level] + low + (AFTER if low else ""), LEVELS[level] + high


def _from(low: str, high: str, level: int, *, is_value: bool) -> Interval:
    name = VALUE if is_value else LEVELS[level]
    return name + low, name + high
