"""Filters as SQL: a typed filter becomes an expression with bound values, ready for a WHERE clause.

A condition on a value that is missing or of another type is NULL, which WHERE treats as false. Only NOT needs more:
`(x) IS NOT TRUE` keeps the logic two-valued, and leaves conditions that are not negated plain, so that indexes on
`typed_field` match them.

Values are bound directly, or extracted from the filter first by `parameterize`: filters that differ only in values
then share a template, and with it their statement.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import Any, TypeAlias, cast

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
from sqlalchemy.types import TypeEngine

from ..domain.filters.ast import And, FieldType, Filter, Not, Operator, Or, Path
from ..domain.filters.conditions import (
    AnyValue,
    Comparison,
    Condition,
    HasKey,
    Like,
    Mistyped,
    Present,
    RelatedCondition,
    StartsWith,
    ValueCondition,
)
from ..domain.filters.values import value_text
from ..domain.relations import Relation
from .fields import TYPES, collated, mistyped, reached, text_field, text_literal, typed_field

# asyncpg would send the earliest and the latest date as infinity.
_SENT_AS_TEXT: Mapping[FieldType, Callable[..., ColumnElement[Any]]] = {
    FieldType.DATE: func.draftline.read_date,
    FieldType.TIMESTAMP: func.draftline.read_instant,
}
_OPERATORS: Mapping[Operator, Callable[[Any, Any], ColumnElement[bool]]] = {
    Operator.EQ: operator.eq,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
}
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


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


@dataclass(frozen=True, slots=True)
class Parameterized:
    """A condition without its values, and the names under which they are bound.

    A prefix has two values, or one if no text sorts after all texts that start with it.
    """

    condition: Condition
    names: tuple[str, ...]


FilterTemplate: TypeAlias = Filter[Parameterized]


def parameterize(tree: Filter[Condition]) -> tuple[FilterTemplate, dict[str, object]]:
    """Return the filter's template, which does not depend on its values, and the values by their names in it."""
    values: dict[str, object] = {}
    return _parameterized(tree, values), values


def _parameterized(tree: Filter[Condition], values: dict[str, object]) -> FilterTemplate:
    if isinstance(tree, And):
        return And(tuple(_parameterized(term, values) for term in tree.terms))
    if isinstance(tree, Or):
        return Or(tuple(_parameterized(term, values) for term in _padded(tree.terms)))
    if isinstance(tree, Not):
        return Not(_parameterized(tree.term, values))
    if isinstance(tree, RelatedCondition):
        return Parameterized(replace(tree, tree=_parameterized(tree.tree, values)), ())
    own = {f"value_{index}": value for index, value in enumerate(_values(tree), len(values))}
    values |= own
    return Parameterized(_without_values(tree), tuple(own))


def _padded(terms: tuple[Filter[Condition], ...]) -> tuple[Filter[Condition], ...]:
    """Repeat the last value of an `in` until the number of values is a power of two.

    So lists of 5 to 8 values share a statement, and lists of any length have 7 at most.
    """
    if len({_without_values(term) if isinstance(term, Comparison) else term for term in terms}) > 1:
        return terms
    return terms + terms[-1:] * ((1 << (len(terms) - 1).bit_length()) - len(terms))


def _without_values(condition: Condition) -> Condition:
    match condition:
        case Comparison():
            return replace(condition, value="")
        case StartsWith():
            return replace(condition, prefix="")
        case Like():
            return replace(condition, parts=())
        case HasKey():
            return replace(condition, key="")
        case AnyValue():
            return replace(condition, condition=cast(ValueCondition, _without_values(condition.condition)))
        case Present() | Mistyped() | RelatedCondition():
            return condition


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
    type_ = _bound_type(condition)
    if isinstance(tree, Parameterized):
        bound = [bindparam(name, type_=type_, required=False) for name in tree.names]
    else:
        bound = [bindparam(None, value, type_=type_, unique=True) for value in _values(tree)]
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


def _values(condition: Condition) -> tuple[object, ...]:
    """Return the values that a condition binds."""
    match condition:
        case Comparison(value=value):
            return (value_text(value) if condition.type in _SENT_AS_TEXT else value,)
        case StartsWith(prefix=prefix):
            after = after_prefix(prefix)
            return (prefix,) if after is None else (prefix, after)
        case Like():
            return (condition.pattern,)
        case HasKey():
            return (condition.key,)
        case AnyValue():
            return _values(condition.condition)
        case Present() | Mistyped() | RelatedCondition():
            return ()


def _bound_type(condition: Condition) -> TypeEngine[Any]:
    if isinstance(condition, AnyValue):
        return _bound_type(condition.condition)
    if isinstance(condition, Comparison) and condition.type not in _SENT_AS_TEXT:
        return TYPES[condition.type]
    return TYPES[FieldType.TEXT]


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
    read = _SENT_AS_TEXT.get(condition.type)
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


def after_prefix(prefix: str) -> str | None:
    """Return the first text, in code point order, after all texts that start with the prefix; None if there is none."""
    head = prefix.rstrip(chr(_LAST_CODE_POINT))
    if not head:
        return None
    following = ord(head[-1]) + 1
    return head[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
