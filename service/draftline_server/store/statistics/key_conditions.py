"""Filters as SQL conditions on the keys of a tally's rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import ARRAY, ColumnElement, Numeric, Text, and_, func, literal, not_, or_
from sqlalchemy import cast as cast_sql

from ...domain.filters.ast import And, Filter, Not, Operator, Or
from ...domain.filters.conditions import Comparison, Condition, StartsWith
from ...domain.statistics import DATE_SIZES, RANGES, KeyType, StatisticSpec
from .needs import aligned
from .ranges import Parts

COMPARISONS = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def key_condition(
    tree: Filter[Condition], spec: StatisticSpec, indexes: Mapping[Any, int], columns: Any, parts: Parts | None
) -> ColumnElement[bool]:
    """Return a condition on the keys, which is never NULL."""
    if isinstance(tree, And):
        return and_(*(key_condition(term, spec, indexes, columns, parts) for term in tree.terms))
    if isinstance(tree, Or):
        return or_(*(key_condition(term, spec, indexes, columns, parts) for term in tree.terms))
    if isinstance(tree, Not):
        return not_(key_condition(tree.term, spec, indexes, columns, parts))
    tree = cast("Comparison | StartsWith", tree)
    index = indexes[tree.field.path]
    column, type_ = columns[f"k{index + 1}"], spec.keys[index].type
    if isinstance(tree, StartsWith):
        return func.coalesce(func.starts_with(column, literal(tree.prefix, Text)), False)
    if parts is not None and type_ in RANGES:
        return func.coalesce(column == func.any(literal(parts.of(tree), ARRAY(Text))), False)
    operator: Operator = tree.operator
    value: object = tree.value
    if type_ is KeyType.NUMBER:
        return func.coalesce(COMPARISONS[operator](cast_sql(column, Numeric), literal(value, Numeric)), False)
    if type_ is KeyType.BOOLEAN:
        value = "true" if value else "false"
    elif type_ in DATE_SIZES:
        operator, value = aligned(tree, type_) or (operator, "")  # the statistic covers the query
    return func.coalesce(COMPARISONS[operator](column, literal(value, Text(collation="C"))), False)
