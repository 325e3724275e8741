"""The needs of a query, and the statistics that cover it.

A statistic covers a query if its keys include every field by which the query groups, filters, counts distinct values or
takes the least or greatest, with dates at least as fine, and its measures every field that the query sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import cast

from ...domain.edits import format_pointer
from ...domain.errors import InvalidFieldError
from ...domain.filters.ast import And, FieldType, Filter, FilterError, Not, Operator, Or, Path
from ...domain.filters.conditions import Comparison, Condition, StartsWith
from ...domain.statistics import (
    DATE_SIZES,
    MAX_KEYS,
    MAX_MEASURES,
    RANGES,
    RANGES_OF,
    Function,
    Grain,
    KeyType,
    StatisticKey,
    StatisticSpec,
    StatisticsQuery,
    check_number,
    key_type,
)
from ...domain.values import value_class

# The types of keys by the number of groups that they probably form, the fewest first.
_FEW = (
    (FieldType.BOOLEAN, KeyType.BOOLEAN),
    (FieldType.DATE, KeyType.YEAR),
    (FieldType.TEXT, KeyType.TEXT),
    (FieldType.NUMBER, KeyType.NUMBER_RANGE),
)


@value_class
class Needs:
    """The group keys with their types, the finest type of each needed key, and the fields to sum."""

    groups: tuple[StatisticKey, ...]
    keys: Mapping[Path, KeyType]
    compared: frozenset[Path]  # those NUMBER and DATE keys that only the filter reads, so a range covers them
    sums: tuple[Path, ...]
    counts: tuple[Path, ...]  # fields whose numbers or key values are counted

    def covered_by(self, spec: StatisticSpec) -> bool:
        types = {key.path: key.type for key in spec.keys}
        readable = {path for path, type_ in types.items() if type_ is KeyType.NUMBER} | set(spec.measures)
        counted = {path for path, type_ in types.items() if type_ not in RANGES} | set(spec.measures)
        return (
            all(path in types and self._is_covered(path, types[path]) for path in self.keys)
            and all(path in readable for path in self.sums)
            and all(path in counted for path in self.counts)
        )

    def _is_covered(self, path: Path, type_: KeyType) -> bool:
        return (type_ in RANGES and path in self.compared) or is_as_fine(type_, self.keys[path])

    def spec(self, *, has_range: bool = False) -> StatisticSpec:
        """Return the least statistic that covers the query. Raise InvalidFieldError if none may be declared.

        With `has_range`, one field of the filter that may have many different values is its range.
        """
        keys = tuple(StatisticKey(path, type_) for path, type_ in self.keys.items())
        if has_range:
            # Days alone are few enough to be groups.
            ranged = [
                key
                for key in keys
                if key.path in self.compared and (key.type is KeyType.NUMBER or (key.type is KeyType.DATE and keys[1:]))
            ][:1]
            keys = (
                *(StatisticKey(key.path, RANGES_OF[key.type]) for key in ranged),
                *(key for key in keys if key not in ranged),
            )
        read = {key.path for key in keys if key.type not in RANGES}
        measures = tuple(dict.fromkeys(path for path in (*self.sums, *self.counts) if path not in read))
        if len(keys) > MAX_KEYS:
            names = ", ".join(format_pointer(key.path) for key in keys)
            problem = (
                f"the query groups, filters, and counts distinct by {names}: at most {MAX_KEYS} fields are allowed"
            )
            raise InvalidFieldError.of("group_by", problem)
        if len(measures) > MAX_MEASURES:
            raise InvalidFieldError.of("measures", f"may use at most {MAX_MEASURES} different fields")
        return StatisticSpec("", keys, measures)

    def to_declare(self, fields: Mapping[Path, FieldType]) -> StatisticSpec:
        """Return the statistic to declare for the query, by a field with few values if the query needs no key.

        It has no key only if no field can be one.
        """
        spec = self.spec(has_range=True)
        if spec.keys:
            return spec
        few = next(((path, type_) for kind, type_ in _FEW for path in fields if fields[path] is kind), None)
        return StatisticSpec("", (StatisticKey(*few),), spec.measures) if few is not None else spec


def is_as_fine(type_: KeyType, needed: KeyType) -> bool:
    """Return whether groups of `needed` can be added up from groups of `type_`."""
    if type_ in DATE_SIZES and needed in DATE_SIZES:
        return DATE_SIZES[type_] >= DATE_SIZES[needed]
    return type_ is needed


def needs_of(query: StatisticsQuery, condition: Filter[Condition] | None, fields: Mapping[Path, FieldType]) -> Needs:
    """Return what a query needs. Raise InvalidFieldError or FilterError if no statistic can answer it."""
    groups = tuple(
        StatisticKey(path, key_type(path, grain, fields, f"group_by[{index}]"))
        for index, (path, grain) in enumerate(query.group_by)
    )
    wanted = [(key.path, key.type) for key in groups]
    sums: list[Path] = []
    counts: list[Path] = []
    for index, measure in enumerate(query.measures):
        where = f"measures[{index}]"
        match measure.function:
            case Function.COUNT:
                if measure.path:
                    key_type(measure.path, Grain.VALUE, fields, where)
                    counts.append(measure.path)
                    if fields[measure.path] is not FieldType.NUMBER:
                        wanted.append((measure.path, _coarsest(fields[measure.path])))
            case Function.SUM | Function.AVG:
                check_number(measure.path, fields, f"{where}.path")
                sums.append(measure.path)
            case Function.MIN | Function.MAX | Function.COUNT_DISTINCT:
                type_ = key_type(measure.path, Grain.VALUE, fields, where)
                if type_ is KeyType.BOOLEAN and measure.function is not Function.COUNT_DISTINCT:
                    raise InvalidFieldError.of(f"{where}.path", "a BOOLEAN has no least or greatest value")
                wanted.append((measure.path, type_))
    filtered = _filtered(condition) if condition is not None else []
    compared = {path for path, type_ in filtered if type_ in (KeyType.NUMBER, *DATE_SIZES)}
    compared -= {path for path, _ in wanted}
    wanted += filtered
    keys: dict[Path, KeyType] = {}
    for path, type_ in wanted:
        if path not in keys or not is_as_fine(keys[path], type_):
            keys[path] = type_
    return Needs(groups, keys, frozenset(compared), tuple(dict.fromkeys(sums)), tuple(dict.fromkeys(counts)))


def _coarsest(type_: FieldType) -> KeyType:
    return KeyType.YEAR if type_ is FieldType.DATE else KeyType(type_)


def _filtered(condition: Filter[Condition]) -> list[tuple[Path, KeyType]]:
    """Return the keys that a filter reads, of dates the coarsest type whose groups it does not divide."""
    if isinstance(condition, And | Or):
        return [each for term in condition.terms for each in _filtered(term)]
    if isinstance(condition, Not):
        return _filtered(condition.term)
    if not isinstance(condition, Comparison | StartsWith) or condition.field.of_record or not condition.indexed:
        position = getattr(getattr(condition, "field", None), "position", 0)
        problem = "statistics can be filtered only by comparing declared fields of the content with values"
        raise FilterError(problem, position)
    if isinstance(condition, StartsWith):
        return [(condition.field.path, KeyType.TEXT)]
    if condition.type is FieldType.TIMESTAMP:
        raise FilterError(
            "a TIMESTAMP cannot be a group key, so statistics cannot be filtered by it", condition.field.position
        )
    if condition.type is not FieldType.DATE:
        return [(condition.field.path, KeyType(condition.type))]
    types: Iterable[KeyType] = (KeyType.YEAR, KeyType.MONTH)
    found = next((type_ for type_ in types if aligned(condition, type_) is not None), KeyType.DATE)
    return [(condition.field.path, found)]


def aligned(condition: Comparison, type_: KeyType) -> tuple[Operator, str] | None:
    """Return the comparison of a date key's text that equals a comparison of the date; None if it divides a group."""
    day, operator = cast("date", condition.value), condition.operator
    if type_ is KeyType.DATE:
        return operator, day.isoformat()
    is_first = day.day == 1 and (type_ is KeyType.MONTH or day.month == 1)
    after = day + timedelta(days=1) if day < date.max else None
    is_last = after is None or (after.day == 1 and (type_ is KeyType.MONTH or after.month == 1))
    text = day.isoformat()[: DATE_SIZES[type_]]
    if (operator in (Operator.GE, Operator.LT) and is_first) or (operator in (Operator.GT, Operator.LE) and is_last):
        return operator, text
    return None
