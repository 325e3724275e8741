"""Filters as SQL: a typed filter becomes an expression with bound values, ready for a WHERE clause.

A condition on a value that is missing or of another type is NULL, which WHERE treats as false. Only NOT needs more:
`(x) IS NOT TRUE` keeps the logic two-valued, and leaves conditions that are not negated plain, so that indexes on
`typed_field` match them.

The values are bound directly, or, of a template (`filter_templates`), under the names that it has for them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    FromClause,
    Text,
    and_,
    bindparam,
    column,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from ..domain.filters.ast import And, FieldType, Filter, Not, Operator, Or, Path
from ..domain.filters.conditions import (
    AnyValue,
    Comparison,
    Condition,
    HasKey,
    Like,
    Mistyped,
    RelatedCondition,
    StartsWith,
    ValueCondition,
)
from ..domain.relations import Relation
from .fields import TYPES, collated, mistyped, reached, text_field, text_literal, typed_field
from .filter_templates import SENT_AS_TEXT, FilterTemplate, Parameterized, bound_type, condition_values

_OPERATORS: Mapping[Operator, Callable[[Any, Any], ColumnElement[bool]]] = {
    Operator.EQ: operator.eq,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
}


@dataclass(frozen=True, slots=True)
class FilterScope:
    """The row that a filter's fields refer to, such as a record, a draft, or a value within an array.

    `content` is a jsonb column or expression; `attributes` are columns, of any name, by the names that filters use.
    """

    content: ColumnElement[Any]
    attributes: Mapping[str, ColumnElement[Any]] = dataclass_field(default_factory=dict)
    follow: Callable[[Relation, FilterScope], Sequence[Candidates]] | None = None  # for related records


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows to which a relation may lead: they are related if they satisfy the conditions."""

    source: FromClause
    scope: FilterScope
    conditions: Sequence[ColumnElement[bool]]

    def verified(self, condition: ColumnElement[bool]) -> Candidates:
        """Return the same rows with another condition."""
        return Candidates(self.source, self.scope, [*self.conditions, condition])


def compile_filter(tree: Filter[Condition] | FilterTemplate, scope: FilterScope) -> ColumnElement[bool]:
    """Compile the filter for the rows of a scope.

    The result is true where the filter is satisfied, false or NULL where it is not.
    """
    if isinstance(tree, And):
        return and_(*(compile_filter(term, scope) for term in tree.terms))
    if isinstance(tree, Or):
        return or_(*(compile_filter(term, scope) for term in tree.terms))
    if isinstance(tree, Not):
        return compile_filter(tree.term, scope).is_not(true())
    condition = tree.condition if isinstance(tree, Parameterized) else tree
    if isinstance(condition, RelatedCondition):
        return _compile_related(condition.relations, condition.tree, scope)
    type_ = bound_type(condition)
    if isinstance(tree, Parameterized):
        bound = [bindparam(name, type_=type_, required=False) for name in tree.names]
    else:
        bound = [bindparam(None, value, type_=type_, unique=True) for value in condition_values(tree)]
    if isinstance(condition, Mistyped):
        return or_(false(), *(mistyped(scope.content, path, declared) for path, declared in condition.declared))
    if condition.field.of_record:
        return _compile_attribute(condition, bound, scope.attributes[condition.field.path[0]])
    if isinstance(condition, AnyValue):
        return _compile_any(condition, bound, scope)
    return _compile_condition(condition, bound, scope)


def _compile_related(
    relations: Sequence[Relation], tree: Filter[Condition] | FilterTemplate, scope: FilterScope
) -> ColumnElement[bool]:
    """Compile the condition that the relations lead to a row that satisfies the filter."""
    if not relations:
        return compile_filter(tree, scope)
    if scope.follow is None:
        raise ValueError("relations can be followed in lists only")
    return or_(
        false(),
        *(
            exists(
                select(literal_column("1"))
                .select_from(each.source)
                .where(*each.conditions, _compile_related(relations[1:], tree, each.scope))
            )
            for each in scope.follow(relations[0], scope)
        ),
    )


def _compile_attribute(
    condition: Condition, bound: Sequence[ColumnElement[Any]], column: ColumnElement[Any]
) -> ColumnElement[bool]:
    match condition:
        case Comparison():
            return _compared(collated(column, condition.type), condition, bound[0])
        case StartsWith():
            return _starts_with(collated(column, FieldType.TEXT), *bound)
        case Like():
            return _like(column, condition, bound[0])
        case _:  # an attribute is a scalar, so it can only be present or not
            return column.is_not(None)


def _compile_any(condition: AnyValue, bound: Sequence[ColumnElement[Any]], scope: FilterScope) -> ColumnElement[bool]:
    through: ColumnElement[Any] = literal_column(f"CAST({text_literal(condition.through)} AS jsonpath)")
    query = func.jsonb_path_query(scope.content, through)
    values = query.table_valued(column("value", JSONB), name="reached").render_derived()
    is_satisfied = _compile_condition(condition.condition, bound, FilterScope(values.c.value))
    return exists(select(literal_column("1")).select_from(values).where(is_satisfied))


def _compile_condition(
    condition: ValueCondition, bound: Sequence[ColumnElement[Any]], scope: FilterScope
) -> ColumnElement[bool]:
    content, path = scope.content, condition.field.path
    match condition:
        case Comparison():
            field = _content_field(content, path, condition.type, condition.indexed)
            return _compared(field, condition, bound[0])
        case StartsWith():
            return _starts_with(_content_field(content, path, FieldType.TEXT, condition.indexed), *bound)
        case Like():
            return _like(_content_field(content, path, FieldType.TEXT, indexed=False), condition, bound[0])
        case HasKey():
            return func.draftline.has_key_at(*reached(content, path), bound[0], type_=Boolean())
        case _:
            return func.draftline.present_at(*reached(content, path), type_=Boolean())


def _content_field(content: ColumnElement[Any], path: Path, type_: FieldType, indexed: bool) -> ColumnElement[Any]:
    if indexed or type_ is not FieldType.TEXT:
        return typed_field(content, path, type_)
    return text_field(content, path)


def _compared(field: ColumnElement[Any], condition: Comparison, value: ColumnElement[Any]) -> ColumnElement[bool]:
    read = SENT_AS_TEXT.get(condition.type)
    compare = _OPERATORS[condition.operator]
    if condition.lowered:
        return compare(_lower(field), _lower(value))
    return compare(field, read(value, type_=TYPES[condition.type]) if read else value)


def _like(field: ColumnElement[Any], condition: Like, pattern: ColumnElement[Any]) -> ColumnElement[bool]:
    if condition.lowered:
        return _lower(field).like(_lower(pattern))
    return collated(field, FieldType.TEXT).like(pattern)


def _lower(text: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.draftline.lower_text(text, type_=Text()).collate("C")


def _starts_with(
    field: ColumnElement[Any], prefix: ColumnElement[Any], after: ColumnElement[Any] | None = None
) -> ColumnElement[bool]:
    """Build a range, which can use an index in a generic plan too; LIKE can only if the planner knows its pattern."""
    lower = field >= prefix
    return lower if after is None else and_(lower, field < after)
