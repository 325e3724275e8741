"""The statement of a query of statistics: the rows of the baseline and of the caller, summed by group.

The rows are those of a tally, or, if no statistic covers the query, the contributions of all records and of the
caller's drafts. Distinct, least and greatest values are of the keys of groups that have records, so the statement then
sums by all keys of the statistic first.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from typing import cast as cast_type

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Numeric,
    Text,
    and_,
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

from ...domain.filters.ast import And, Filter, Not, Operator, Or
from ...domain.filters.conditions import Comparison, Condition, StartsWith
from ...domain.statistics import (
    DATE_SIZES,
    RANGES,
    Function,
    KeyType,
    Measure,
    Side,
    StatisticKey,
    StatisticSpec,
    StatisticsQuery,
)
from ..statements import Statement, compiled, fragment
from .needs import aligned
from .ranges import Parts, parts_of

SUMS = [f"{kind}{number}" for number in range(1, 5) for kind in "cs"]
TYPES: Mapping[str, Any] = {
    **{f"k{number}": Text(collation="C") for number in range(1, 4)},
    "is_own": Boolean(),
    "records": BigInteger(),
    **{name: BigInteger() if name.startswith("c") else Numeric() for name in SUMS},
}
COMPARISONS = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
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

    `source`: `tally_rows` (for a statistic of a range, `range_rows` instead) or `scanned_rows`. The rows have columns
    `key_1` …, and `baseline_1`, `merged_1`, `difference_1` … for the measures, and `is_ready`.
    """
    parts = parts_of(spec, condition)
    rows = text(fragment("statistics", source if parts is None else "range_rows")).columns(**TYPES).subquery("t")
    indexes = {key.path: index for index, key in enumerate(spec.keys)}
    columns = rows.c
    kept = select(
        *(columns[f"k{number}"] for number in range(1, 4)),
        *(case((not_(columns.is_own), columns[name])).label(f"b_{name}") for name in ("records", *SUMS)),
        *(columns[name].label(f"m_{name}") for name in ("records", *SUMS)),
    )
    if condition is not None:
        kept = kept.where(_filter(condition, spec, indexes, columns, parts))
    source_rows = kept.subquery("s")
    if any(measure.function in (Function.MIN, Function.MAX, Function.COUNT_DISTINCT) for measure in query.measures):
        keys = [source_rows.c[f"k{number}"] for number in range(1, 4)]
        sums = [name for name in source_rows.c.keys() if name[:2] in ("b_", "m_")]  # noqa: SIM118  not a dict
        source_rows = (
            select(*keys, *(func.sum(source_rows.c[name]).label(name) for name in sums)).group_by(*keys).subquery("f")
        )
    found = [_group_key(source_rows.c, indexes[key.path], spec, key.type) for key in groups]
    values = [
        _measure(measure, side, source_rows.c, spec, indexes).label(f"{side}_{index}")
        for index, measure in enumerate(query.measures, 1)
        for side in ("b", "m")
    ]
    grouped = select(*(key.label(f"key_{index}") for index, key in enumerate(found, 1)), *values)
    is_ready: Any = true()
    if source == "tally_rows":
        is_ready = text(fragment("statistics", "is_ready")).columns(is_ready=Boolean()).scalar_subquery()
    if found:
        has_records = or_(
            func.coalesce(func.sum(source_rows.c.b_records), 0) != 0,
            func.coalesce(func.sum(source_rows.c.m_records), 0) != 0,
        )
        grouped = grouped.group_by(*found).having(has_records)
    else:
        grouped = grouped.add_columns(func.count().label("rows"))  # one row even without a measure
    statement, values_of_filter = compiled(
        "get_statistics", _ordered(query, grouped.subquery("g"), groups, spec, is_ready)
    )
    return statement, {**values_of_filter, **(parts.values() if parts is not None else {})}


def _ordered(
    query: StatisticsQuery, grouped: Any, groups: tuple[StatisticKey, ...], spec: StatisticSpec, is_ready: Any
) -> Any:
    """Return the select of the groups that satisfy the conditions, in order."""
    columns = grouped.c

    def value(index: int, side: Side) -> ColumnElement[Any]:
        baseline, merged = columns[f"b_{index + 1}"], columns[f"m_{index + 1}"]
        if side is Side.DIFFERENCE:
            if not is_number(query.measures[index]):
                return null()
            return func.trim_scale(cast(cast(merged, Numeric) - cast(baseline, Numeric), Numeric), type_=Numeric())
        found: ColumnElement[Any] = baseline if side is Side.BASELINE else merged
        return found

    def is_number(measure: Measure) -> bool:
        types = {key.path: key.type for key in spec.keys}
        return measure.function not in (Function.MIN, Function.MAX) or types[measure.path] is KeyType.NUMBER

    def key(index: int) -> ColumnElement[Any]:
        column = columns[f"key_{index + 1}"]
        return cast(column, Numeric) if groups[index].type is KeyType.NUMBER else column

    shown = [columns[f"key_{index}"] for index in range(1, len(groups) + 1)]
    for index in range(len(query.measures)):
        shown += [value(index, side).label(f"{side.lower()}_{index + 1}") for side in Side]
    statement = select(*shown, is_ready.label("is_ready"))
    for each in query.having:
        statement = statement.where(
            COMPARISONS[each.operator](value(each.index, each.side), literal(each.value, Numeric))
        )
    for order in query.order:
        by = key(order.index) if order.side is None else value(order.index, order.side)
        statement = statement.order_by((by.desc() if order.descending else by.asc()).nulls_last())
    statement = statement.order_by(*(key(index).asc().nulls_last() for index in range(len(groups))))
    return statement.limit(query.limit + 1)


def _group_key(columns: Any, index: int, spec: StatisticSpec, type_: KeyType) -> ColumnElement[Any]:
    column: ColumnElement[Any] = columns[f"k{index + 1}"]
    if spec.keys[index].type is not type_:
        return func.left(column, literal_column(str(DATE_SIZES[type_])), type_=Text())
    return column


def _measure(
    measure: Measure, side: str, columns: Any, spec: StatisticSpec, indexes: Mapping[Any, int]
) -> ColumnElement[Any]:
    records = columns[f"{side}_records"]

    def total(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.coalesce(func.sum(column), 0)

    if measure.path in spec.measures:
        number = spec.measures.index(measure.path) + 1
        count, amount = columns[f"{side}_c{number}"], columns[f"{side}_s{number}"]
    elif measure.path:
        column = columns[f"k{indexes[measure.path] + 1}"]
        count = case((column.is_not(None), records))
        amount = records * cast(column, Numeric)
    match measure.function:
        case Function.COUNT:
            return total(count if measure.path else records)
        case Function.SUM:
            return func.trim_scale(total(cast(amount, Numeric)), type_=Numeric())
        case Function.AVG:
            average = total(cast(amount, Numeric)) / func.nullif(total(count), 0)
            return func.trim_scale(cast(average, Numeric), type_=Numeric())
    key = columns[f"k{indexes[measure.path] + 1}"]
    if spec.keys[indexes[measure.path]].type is KeyType.NUMBER:
        key = cast(key, Numeric)
    if measure.function is Function.COUNT_DISTINCT:
        return func.count(distinct(key)).filter(records > 0)
    apply = func.min if measure.function is Function.MIN else func.max
    return apply(key, type_=key.type).filter(records > 0)


def _filter(
    tree: Filter[Condition], spec: StatisticSpec, indexes: Mapping[Any, int], columns: Any, parts: Parts | None
) -> ColumnElement[bool]:
    """Return a condition on the keys, which is never NULL."""
    if isinstance(tree, And):
        return and_(*(_filter(term, spec, indexes, columns, parts) for term in tree.terms))
    if isinstance(tree, Or):
        return or_(*(_filter(term, spec, indexes, columns, parts) for term in tree.terms))
    if isinstance(tree, Not):
        return not_(_filter(tree.term, spec, indexes, columns, parts))
    tree = cast_type("Comparison | StartsWith", tree)
    index = indexes[tree.field.path]
    column, type_ = columns[f"k{index + 1}"], spec.keys[index].type
    if isinstance(tree, StartsWith):
        return func.coalesce(func.starts_with(column, literal(tree.prefix, Text)), False)
    if parts is not None and type_ in RANGES:
        return func.coalesce(column == func.any(literal(parts.of(tree), ARRAY(Text))), False)
    operator: Operator = tree.operator
    value: object = tree.value
    if type_ is KeyType.NUMBER:
        return func.coalesce(COMPARISONS[operator](cast(column, Numeric), literal(value, Numeric)), False)
    if type_ is KeyType.BOOLEAN:
        value = "true" if value else "false"
    elif type_ in DATE_SIZES:
        operator, value = aligned(tree, type_) or (operator, "")  # the statistic covers the query
    return func.coalesce(COMPARISONS[operator](column, literal(value, Text(collation="C"))), False)
