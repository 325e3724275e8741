"""Filters as SQL: a typed filter becomes an expression with bound values, ready for a WHERE clause.

A condition on a value that is missing or of another type is NULL, which WHERE takes for false. Only NOT needs more:
`(x) IS NOT TRUE` keeps the logic two-valued, and leaves conditions that are not negated plain, so that indexes on
`typed_field` match them.
"""

import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

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

from ..domain.literals import Value, value_text
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
_OPERATORS: Mapping[Operator, Callable[[Any, Any], ColumnElement[bool]]] = {
    Operator.EQ: operator.eq,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
}
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def compile_filter(
    tree: Filter[Condition], content: ColumnElement[Any], attributes: Mapping[str, ColumnElement[Any]]
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
    if tree.field.of_record:
        return _compile_attribute(tree, attributes[tree.field.path[0]])
    return _compile_condition(tree, content)


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


def _compile_attribute(condition: Condition, column: ColumnElement[Any]) -> ColumnElement[bool]:
    match condition:
        case Comparison():
            place = _typed(column, condition.type)
            return _OPERATORS[condition.operator](place, _bound(condition.value, condition.type))
        case StartsWith():
            return _starts_with(_typed(column, FieldType.TEXT), condition.prefix)
        case Present() | Has():  # an attribute is a scalar, so `with_types` leaves it no Has
            return column.is_not(None)


def _compile_condition(condition: Condition, content: ColumnElement[Any]) -> ColumnElement[bool]:
    path = condition.field.path
    match condition:
        case Comparison():
            place = _content_field(content, path, condition.type, condition.indexed)
            return _OPERATORS[condition.operator](place, _bound(condition.value, condition.type))
        case StartsWith():
            return _starts_with(_content_field(content, path, FieldType.TEXT, condition.indexed), condition.prefix)
        case Has(value=value):
            json_text = json.dumps(value) if isinstance(value, str | bool) else str(value)
            scalar = cast(_bound(json_text, FieldType.TEXT), JSONB)
            key = _bound(condition.key, FieldType.TEXT)
            return func.draftline.has_at(content, path_literal(path), scalar, key, type_=Boolean())
        case Present():
            return func.draftline.present_at(content, path_literal(path), type_=Boolean())


def _content_field(content: ColumnElement[Any], path: Path, type_: FieldType, indexed: bool) -> ColumnElement[Any]:
    if indexed or type_ is not FieldType.TEXT:
        return typed_field(content, path, type_)
    # A field that is not declared may hold texts of any length, which typed_field leaves out.
    return _typed(func.draftline.text_at(content, path_literal(path), type_=Text()), type_)


def _typed(place: ColumnElement[Any], type_: FieldType) -> ColumnElement[Any]:
    return place.collate("C") if type_ is FieldType.TEXT else place


def _bound(value: Value, type_: FieldType) -> ColumnElement[Any]:
    if type_ in (FieldType.DATE, FieldType.TIMESTAMP):  # asyncpg would send the first and the last day as infinity
        read = func.draftline.read_date if type_ is FieldType.DATE else func.draftline.read_timestamp
        return read(_bound(value_text(value), FieldType.TEXT), type_=_TYPES[type_])
    return bindparam(None, value, type_=_TYPES[type_], unique=True)


def _starts_with(place: ColumnElement[Any], prefix: str) -> ColumnElement[bool]:
    """As a range, which an index serves whatever plan is made; LIKE needs to see its pattern."""
    lower = place >= _bound(prefix, FieldType.TEXT)
    after = _after_prefix(prefix)
    return lower if after is None else and_(lower, place < _bound(after, FieldType.TEXT))


def _after_prefix(prefix: str) -> str | None:
    """The first text, in code point order, after all those that start with the prefix; None if there is none."""
    head = prefix.rstrip(chr(_LAST_CODE_POINT))
    if not head:
        return None
    following = ord(head[-1]) + 1
    return head[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
