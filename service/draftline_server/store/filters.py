"""Filters as SQL: a typed filter becomes an expression with bound values, ready for a WHERE clause.

A condition on a value that is missing or of another type is NULL, which WHERE takes for false. Only NOT needs more:
`(x) IS NOT TRUE` keeps the logic two-valued, and leaves conditions that are not negated plain, so that indexes on
`typed_field` match them.

Values are bound as they come, or `lifted` out of the filter first: what is left is its form, which filters that differ
in values share, and with it their statement.
"""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Numeric,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

from ..domain.literals import value_text
from ..domain.query import (
    And,
    Comparison,
    Condition,
    FieldType,
    Filter,
    Has,
    Not,
    Operator,
    Or,
    Path,
    Present,
    StartsWith,
)

_TYPES: Mapping[FieldType, TypeEngine[Any]] = {
    FieldType.TEXT: Text(),
    FieldType.NUMBER: Numeric(),
    FieldType.BOOLEAN: Boolean(),
    FieldType.DATE: Date(),
    FieldType.TIMESTAMP: DateTime(timezone=True),
}
_READERS: Mapping[FieldType, Callable[..., ColumnElement[Any]]] = {
    FieldType.TEXT: func.draftline.indexed_text_at,
    FieldType.NUMBER: func.draftline.number_at,
    FieldType.BOOLEAN: func.draftline.boolean_at,
    FieldType.DATE: func.draftline.date_at,
    FieldType.TIMESTAMP: func.draftline.timestamp_at,
}
# asyncpg would send the first and the last day as infinity.
_SENT_AS_TEXT: Mapping[FieldType, Callable[..., ColumnElement[Any]]] = {
    FieldType.DATE: func.draftline.read_date,
    FieldType.TIMESTAMP: func.draftline.read_timestamp,
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
class Lifted:
    """A condition without its values, and the names by which they are to be bound.

    A prefix has two values, or one if no text comes after all those that start with it.
    """

    condition: Condition
    names: tuple[str, ...]


Form: TypeAlias = Filter[Lifted]


def lifted(tree: Filter[Condition]) -> tuple[Form, dict[str, object]]:
    """The filter's form, which its values leave alone, and the values by the names that the form gives them."""
    values: dict[str, object] = {}
    return _lifted(tree, values), values


def _lifted(tree: Filter[Condition], values: dict[str, object]) -> Form:
    if isinstance(tree, And):
        return And(tuple(_lifted(term, values) for term in tree.terms))
    if isinstance(tree, Or):
        return Or(tuple(_lifted(term, values) for term in tree.terms))
    if isinstance(tree, Not):
        return Not(_lifted(tree.term, values))
    own = {f"value_{place}": value for place, value in enumerate(_values(tree), len(values))}
    values |= own
    return Lifted(_without_values(tree), tuple(own))


def _without_values(condition: Condition) -> Condition:
    match condition:
        case Comparison():
            return replace(condition, value="")
        case StartsWith():
            return replace(condition, prefix="")
        case Has():
            return replace(condition, value="", key="")
        case Present():
            return condition


def compile_filter(
    tree: Filter[Condition] | Form, content: ColumnElement[Any], attributes: Mapping[str, ColumnElement[Any]]
) -> ColumnElement[bool]:
    """The filter over a jsonb column and the columns (of any name) that hold the record's attributes.

    True where the filter is satisfied, false or NULL where it is not.
    """
    if isinstance(tree, And):
        return and_(*(compile_filter(term, content, attributes) for term in tree.terms))
    if isinstance(tree, Or):
        return or_(*(compile_filter(term, content, attributes) for term in tree.terms))
    if isinstance(tree, Not):
        return compile_filter(tree.term, content, attributes).is_not(true())
    condition = tree.condition if isinstance(tree, Lifted) else tree
    type_ = _bound_type(condition)
    if isinstance(tree, Lifted):
        bound = [bindparam(name, type_=type_, required=False) for name in tree.names]
    else:
        bound = [bindparam(None, value, type_=type_, unique=True) for value in _values(tree)]
    if condition.field.of_record:
        return _compile_attribute(condition, bound, attributes[condition.field.path[0]])
    return _compile_condition(condition, bound, content)


def typed_field(content: ColumnElement[Any], path: Path, type_: FieldType) -> ColumnElement[Any]:
    """The value of a declared field: the one expression for its indexes, its filters and its place in an order.

    NULL where the value is missing, null or of another type.
    """
    return _typed(_READERS[type_](content, path_literal(path), type_=_TYPES[type_]), type_)


def path_literal(path: Path) -> ColumnElement[Any]:
    """The path as a constant text[]: a bound one would not match an index in a generic plan.

    Safe for any name: all but ASCII letters, digits, `_` and space is written as a Unicode escape, so that nothing
    in it can end the literal or be taken for a parameter.
    """
    names = ", ".join(f"E'{''.join(_escaped(character) for character in name)}'" for name in path)
    return literal_column(f"ARRAY[{names}]::text[]", ARRAY(Text()))


def _escaped(character: str) -> str:
    plain = character.isascii() and (character.isalnum() or character in "_ ")
    return character if plain else f"\\U{ord(character):08x}"


def _values(condition: Condition) -> tuple[object, ...]:
    """What a condition binds."""
    match condition:
        case Comparison(value=value):
            return (value_text(value) if condition.type in _SENT_AS_TEXT else value,)
        case StartsWith(prefix=prefix):
            after = _after_prefix(prefix)
            return (prefix,) if after is None else (prefix, after)
        case Has(value=value):
            return (json.dumps(value) if isinstance(value, str | bool) else str(value), condition.key)
        case Present():
            return ()


def _bound_type(condition: Condition) -> TypeEngine[Any]:
    if isinstance(condition, Comparison) and condition.type not in _SENT_AS_TEXT:
        return _TYPES[condition.type]
    return _TYPES[FieldType.TEXT]


def _compile_attribute(
    condition: Condition, bound: Sequence[ColumnElement[Any]], column: ColumnElement[Any]
) -> ColumnElement[bool]:
    match condition:
        case Comparison():
            return _compared(_typed(column, condition.type), condition, bound[0])
        case StartsWith():
            return _starts_with(_typed(column, FieldType.TEXT), *bound)
        case Present() | Has():  # an attribute is a scalar, so `with_types` leaves it no Has
            return column.is_not(None)


def _compile_condition(
    condition: Condition, bound: Sequence[ColumnElement[Any]], content: ColumnElement[Any]
) -> ColumnElement[bool]:
    path = condition.field.path
    match condition:
        case Comparison():
            place = _content_field(content, path, condition.type, condition.indexed)
            return _compared(place, condition, bound[0])
        case StartsWith():
            return _starts_with(_content_field(content, path, FieldType.TEXT, condition.indexed), *bound)
        case Has():
            scalar, key = bound
            json_scalar = cast(scalar, JSONB)
            return func.draftline.has_at(content, path_literal(path), json_scalar, key, type_=Boolean())
        case Present():
            return func.draftline.present_at(content, path_literal(path), type_=Boolean())


def _content_field(content: ColumnElement[Any], path: Path, type_: FieldType, indexed: bool) -> ColumnElement[Any]:
    if indexed or type_ is not FieldType.TEXT:
        return typed_field(content, path, type_)
    # A field that is not declared may hold texts of any length, which typed_field leaves out.
    return _typed(func.draftline.text_at(content, path_literal(path), type_=Text()), type_)


def _typed(place: ColumnElement[Any], type_: FieldType) -> ColumnElement[Any]:
    return place.collate("C") if type_ is FieldType.TEXT else place


def _compared(place: ColumnElement[Any], condition: Comparison, value: ColumnElement[Any]) -> ColumnElement[bool]:
    read = _SENT_AS_TEXT.get(condition.type)
    return _OPERATORS[condition.operator](place, read(value, type_=_TYPES[condition.type]) if read else value)


def _starts_with(
    place: ColumnElement[Any], prefix: ColumnElement[Any], after: ColumnElement[Any] | None = None
) -> ColumnElement[bool]:
    """As a range, which an index serves whatever plan is made; LIKE needs to see its pattern."""
    lower = place >= prefix
    return lower if after is None else and_(lower, place < after)


def _after_prefix(prefix: str) -> str | None:
    """The first text, in code point order, after all those that start with the prefix; None if there is none."""
    head = prefix.rstrip(chr(_LAST_CODE_POINT))
    if not head:
        return None
    following = ord(head[-1]) + 1
    return head[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
