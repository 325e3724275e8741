"""The statement of a query of statistics: the rows of the baseline and of the caller, summed by group.

The rows are those of a tally, or, if no statistic covers the query, the contributions of all records and of the
caller's drafts. Distinct, least and greatest values are of the keys of groups that have records, so the statement then
sums by all keys of the statistic first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Numeric,
    Text,
    case,
    cast,
    distinct,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from ...domain.filters.ast import Filter
from ...domain.filters.conditions import Condition
from ...domain.statistics import (
    DATE_SIZES,
    Function,
    KeyType,
    Measure,
    Side,
    StatisticKey,
    StatisticSpec,
    StatisticsQuery,
)
from ..statements import Statement, compiled, fragment
from .key_conditions import COMPARISONS, key_condition
from .ranges import parts_of

ZERO: ColumnElement[Any] = literal_column("0")
SUMS = [f"{kind}{number}" for number in range(1, 5) for kind in "cs"]
TYPES: Mapping[str, Any] = {
    **{f"k{number}": Text(collation="C") for number in range(1, 4)},
    "is_own": Boolean(),
    "records": BigInteger(),
    **{name: BigInteger() if name.startswith("c") else Numeric() for name in SUMS},
}


@lru_cache(maxsize=512)
def statistics_statement(
    query: StatisticsQuery,
    condition: Filter[Condition] | None,
    spec: StatisticSpec,
    groups: tuple[StatisticKey, ...],
    source: str,
) -> tuple[Statement, Mapping[str, object]]:
    """Return the statement, and the values that it binds itself.

    `source`: `tally_rows` (for a statistic of a range, `range_rows` instead) or `scanned_rows`. Its one row has the
    `size`, the number of groups up to one more than the limit, `is_ready`, and columns of the groups in their order:
    `key_1` and so on, then for the baseline, the merged view and the difference `baseline_1` and so on. A column of
    numbers is a text with commas, in which `null` stands for no value; others are arrays of texts. Columns of no groups
    are NULL.
    """
    parts = parts_of(spec, condition)
    rows = text(fragment("statistics", source if parts is None else "range_rows")).columns(**TYPES).subquery("t")
    indexes = {key.path: index for index, key in enumerate(spec.keys)}
    kept = select(rows)
    if condition is not None:
        kept = kept.where(key_condition(condition, spec, indexes, rows.c, parts))
    if groups and {key.path: key.type for key in groups} == {key.path: key.type for key in spec.keys}:
        # About as many groups as rows, for which a sort is faster than a hash table.
        kept = kept.order_by(*(rows.c[f"k{indexes[key.path] + 1}"] for key in groups)).offset(ZERO)
    sides = _Sides(kept.subquery("s").c)
    if any(measure.function in (Function.MIN, Function.MAX, Function.COUNT_DISTINCT) for measure in query.measures):
        sides = sides.by_key()
    found = [_group_key(sides.columns, indexes[key.path], spec, key.type) for key in groups]
    values = [
        value.label(f"{name}_{index}")
        for index, measure in enumerate(query.measures, 1)
        for name, value in zip(_names(measure), _measure(measure, sides, spec, indexes), strict=True)
    ]
    grouped = select(*(key.label(f"key_{index}") for index, key in enumerate(found, 1)), *values)
    is_ready: Any = true()
    if source == "tally_rows":
        is_ready = text(fragment("statistics", "is_ready")).columns(is_ready=Boolean()).scalar_subquery()
    if found:
        grouped = grouped.group_by(*found).having(
            or_(sides.sum("b", "records") != ZERO, sides.sum("o", "records") != ZERO)
        )
    else:
        grouped = grouped.add_columns(func.count().label("rows"))  # one row even without a measure
    ordered = _ordered(query, grouped.subquery("g"), groups, spec)
    statement, values_of_filter = compiled("get_statistics", _columns(query, ordered, groups, spec, is_ready))
    return statement, {**values_of_filter, **(parts.values() if parts is not None else {})}


def is_sum(measure: Measure) -> bool:
    """Return whether the merged value is the sum of the baseline and of what the caller's drafts add."""
    return measure.function in (Function.COUNT, Function.SUM)


def is_number(measure: Measure, spec: StatisticSpec) -> bool:
    """Return whether the values of a measure are numbers, or else texts or dates."""
    types = {key.path: key.type for key in spec.keys}
    return measure.function not in (Function.MIN, Function.MAX) or types[measure.path] is KeyType.NUMBER


def _names(measure: Measure) -> tuple[str, str]:
    """Return the names of the values of a measure: of the baseline, and of the drafts or of the merged view."""
    return ("b", "o") if is_sum(measure) else ("b", "m")


@dataclass(frozen=True, slots=True)
class _Ordered:
    """The groups in their order, up to one more than the limit.

    `order` says for each of their columns `order_1` and so on whether it descends.
    """

    columns: Any
    order: Sequence[bool]

    def sorted(self, value: Any) -> Any:
        """Return the argument of an aggregate, with the order of the groups.

        PostgreSQL 16 and newer know that the groups are in this order, and do not sort them again.
        """
        columns = [self.columns[f"order_{index}"] for index in range(1, len(self.order) + 1)]
        by = [
            (column.desc() if descending else column.asc()).nulls_last()
            for column, descending in zip(columns, self.order, strict=True)
        ]
        return aggregate_order_by(value, *by) if by else value


def _columns(
    query: StatisticsQuery, groups_in_order: _Ordered, groups: tuple[StatisticKey, ...], spec: StatisticSpec,
    is_ready: Any,
) -> Any:  # fmt: skip
    """Return the select of the columns. A row for each of thousands of groups would take several times as long."""
    ordered, put_in_order = groups_in_order.columns, groups_in_order.sorted
    found = [
        func.array_agg(put_in_order(ordered[f"key_{index}"])).label(f"key_{index}")
        for index in range(1, len(groups) + 1)
    ]
    for side in Side:
        for index, measure in enumerate(query.measures, 1):
            value = ordered[f"{side.lower()}_{index}"]
            if side is Side.MERGED and is_sum(measure):
                value = func.coalesce(value, ordered[f"baseline_{index}"])
            if is_number(measure, spec):
                missing = "0" if is_sum(measure) else "null"
                separator = put_in_order(literal_column("','"))
                column = func.string_agg(func.coalesce(value, literal_column(f"'{missing}'")), separator)
            else:
                column = func.array_agg(put_in_order(value))
            found.append(column.label(f"{side.lower()}_{index}"))
    return select(func.count().label("size"), is_ready.label("is_ready"), *found)


def _ordered(query: StatisticsQuery, grouped: Any, groups: tuple[StatisticKey, ...], spec: StatisticSpec) -> _Ordered:
    """Return the groups that satisfy the conditions, in order.

    Where the caller has no drafts, the merged value and the difference of counts and sums are NULL.
    """
    columns = grouped.c

    def value(index: int, side: Side) -> ColumnElement[Any]:
        measure = query.measures[index]
        merged: ColumnElement[Any]
        difference: ColumnElement[Any]
        if is_sum(measure):
            baseline, difference = (_or_zero(columns[f"{name}_{index + 1}"]) for name in "bo")
            merged = baseline + difference
        else:
            baseline, merged = columns[f"b_{index + 1}"], columns[f"m_{index + 1}"]
            difference = merged - baseline if is_number(measure, spec) else null()
        return {Side.BASELINE: baseline, Side.MERGED: merged, Side.DIFFERENCE: difference}[side]

    def shown(index: int, side: Side) -> ColumnElement[Any]:
        measure, found = query.measures[index], value(index, side)
        if not is_number(measure, spec):
            return found
        if measure.function is not Function.COUNT:
            found = func.trim_scale(found, type_=Numeric())
        if side is Side.BASELINE or not is_sum(measure):
            return cast(found, Text)
        return case((columns[f"o_{index + 1}"].is_not(None), cast(found, Text)))

    def key(index: int) -> ColumnElement[Any]:
        column = columns[f"key_{index + 1}"]
        return cast(column, Numeric) if groups[index].type is KeyType.NUMBER else column

    statement = select(
        *(columns[f"key_{index}"] for index in range(1, len(groups) + 1)),
        *(
            shown(index, side).label(f"{side.lower()}_{index + 1}")
            for side in Side
            for index in range(len(query.measures))
        ),
    )
    for each in query.having:
        statement = statement.where(
            COMPARISONS[each.operator](value(each.index, each.side), literal(each.value, Numeric))
        )
    by = [
        (key(order.index) if order.side is None else value(order.index, order.side), order.descending)
        for order in query.order
        # All differences of texts and dates are null.
        if order.side is not Side.DIFFERENCE or is_number(query.measures[order.index], spec)
    ]
    by += [(key(index), False) for index in range(len(groups))]
    statement = statement.add_columns(*(each.label(f"order_{index}") for index, (each, _) in enumerate(by, 1)))
    statement = statement.order_by(*((each.desc() if down else each.asc()).nulls_last() for each, down in by))
    return _Ordered(statement.limit(query.limit + 1).subquery("x").c, [down for _, down in by])


def _group_key(columns: Any, index: int, spec: StatisticSpec, type_: KeyType) -> ColumnElement[Any]:
    column: ColumnElement[Any] = columns[f"k{index + 1}"]
    if spec.keys[index].type is not type_:
        return func.left(column, literal_column(str(DATE_SIZES[type_])), type_=Text())
    return column


@dataclass(frozen=True, slots=True)
class _Sides:
    """Rows of a tally with their sums of the baseline (`b`) and of the caller's drafts (`o`).

    `is_by_key`: the rows have a column for each side, otherwise a row is of one side, by its column `is_own`.
    """

    columns: Any
    is_by_key: bool = False

    def by_key(self) -> _Sides:
        """Return a row for each combination of keys."""
        keys = [self.columns[f"k{number}"] for number in range(1, 4)]
        sums = [self.sum(side, name).label(f"{side}_{name}") for name in ("records", *SUMS) for side in "bo"]
        return _Sides(select(*keys, *sums).group_by(*keys).subquery("f").c, is_by_key=True)

    def sum(self, side: str, name: str, of: Callable[[Any], Any] = lambda it: it) -> ColumnElement[Any]:
        """Return the sum of a column of a side, or of what `of` returns for it; NULL if there is none."""
        if self.is_by_key:
            return func.sum(of(self.columns[f"{side}_{name}"]), type_=Numeric())
        is_own = self.columns.is_own
        return func.sum(of(self.columns[name]), type_=Numeric()).filter(is_own if side == "o" else not_(is_own))

    def has_records(self, side: str) -> ColumnElement[bool]:
        """Return whether a combination of keys has records, in the baseline or in the merged view (`m`)."""
        baseline, own = self.columns.b_records, self.columns.o_records
        return (baseline if side == "b" else _or_zero(baseline) + _or_zero(own)) > ZERO


def _or_zero(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(column, ZERO, type_=Numeric())


def _measure(
    measure: Measure, sides: _Sides, spec: StatisticSpec, indexes: Mapping[Any, int]
) -> Sequence[ColumnElement[Any]]:
    """Return the values of a measure that `_names` names."""
    if measure.function in (Function.MIN, Function.MAX, Function.COUNT_DISTINCT):
        return [_of_keys(measure, sides, side, spec, indexes) for side in "bm"]
    if measure.path in spec.measures:
        number = spec.measures.index(measure.path) + 1
        counts, amounts = ([sides.sum(side, f"{kind}{number}") for side in "bo"] for kind in "cs")
    elif measure.path:
        key = sides.columns[f"k{indexes[measure.path] + 1}"]
        counts = [sides.sum(side, "records", lambda records: case((key.is_not(None), records))) for side in "bo"]
        amounts = [sides.sum(side, "records", lambda records: records * cast(key, Numeric)) for side in "bo"]
    else:
        counts = [sides.sum(side, "records") for side in "bo"]
    if measure.function is not Function.AVG:
        return counts if measure.function is Function.COUNT else amounts
    averages = []
    for side in ("b", "bo"):
        amount, count = (_total(each[: len(side)]) for each in (amounts, counts))
        averages.append(amount / func.nullif(count, ZERO))
    return averages


def _total(columns: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    first, *others = map(_or_zero, columns)
    return first + others[0] if others else first


def _of_keys(
    measure: Measure, sides: _Sides, side: str, spec: StatisticSpec, indexes: Mapping[Any, int]
) -> ColumnElement[Any]:
    key = sides.columns[f"k{indexes[measure.path] + 1}"]
    if spec.keys[indexes[measure.path]].type is KeyType.NUMBER:
        key = cast(key, Numeric)
    if measure.function is Function.COUNT_DISTINCT:
        return func.count(distinct(key)).filter(sides.has_records(side))
    apply = func.min if measure.function is Function.MIN else func.max
    return apply(key, type_=key.type).filter(sides.has_records(side))
