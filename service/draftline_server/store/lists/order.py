"""The order of a merged list: its sort keys as SQL, and the conditions for rows after a position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    case,
    cast,
    func,
    literal_column,
)

from ...domain.filters.ast import Field, FieldType
from ..fields import collated, text_field, typed_field

_TYPES: Mapping[FieldType, Any] = {
    FieldType.TEXT: Text(collation="C"),
    FieldType.NUMBER: Numeric(),
    FieldType.BOOLEAN: Boolean(),
    FieldType.DATE: Date(),
    FieldType.TIMESTAMP: DateTime(timezone=True),
}
MAX_TOKEN_TEXT = 1_000  # characters of a text in a page token; a longer one is cut, and its digest added
MAX_RANGED_KEYS = 4  # of an order whose pages are read by ranges, each of which is a query in the statement


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One sort key: a declared field, an attribute of the record, or one type of an undeclared field."""

    field: Field
    type: FieldType
    descending: bool
    declared: bool

    @property
    def may_be_long(self) -> bool:
        """True if its texts may be too long for a page token."""
        return self.type is FieldType.TEXT and not self.declared and not self.field.of_record

    def expression(self, content: ColumnElement[Any], attributes: Mapping[str, ColumnElement[Any]]) -> Any:
        if self.field.of_record:
            return collated(attributes[self.field.path[0]], self.type)
        if self.declared:
            return typed_field(content, self.field.path, self.type)
        if self.type is FieldType.TEXT:
            return text_field(content, self.field.path)
        return typed_field(content, self.field.path, self.type)


def conditions_after(
    order: Sequence[OrderKey], keys: Sequence[Any], after: Sequence[bool], record_id: Any
) -> list[ColumnElement[bool]]:
    """Return disjoint conditions that together select the rows after a position.

    The first one is for equal keys and a later id. Then, from the last key to the first, follow one for later values of
    the key and one for its nulls.
    """
    equal: list[ColumnElement[bool]] = []
    pairs: list[list[ColumnElement[bool]]] = []
    for index, (key, expression, is_null) in enumerate(zip(order, keys, after, strict=True)):
        if is_null:
            equal = [*equal, expression.is_(None)]
            continue
        value = _after_value(index, key)
        beyond = expression < value if key.descending else expression > value
        pairs.append([and_(*equal, expression.is_(None)), and_(*equal, beyond)])
        equal = [*equal, expression == value]
    last = and_(*equal, record_id > cast(bound("after_id"), Text(collation="C")))
    nearest_first = [condition for pair in reversed(pairs) for condition in reversed(pair)]
    return [last, *nearest_first]


def _after_value(index: int, key: OrderKey) -> Any:
    # Bind it as text and cast it to its type: the token holds texts, so no value loses a digit.
    return cast(cast(bound(f"after_{index}"), Text()), _TYPES[key.type])


def sorted_by(expression: Any, key: OrderKey) -> Any:
    return (expression.desc() if key.descending else expression.asc()).nulls_last()


def token_columns(value: ColumnElement[Any], index: int, key: OrderKey, *, whole: bool) -> list[ColumnElement[Any]]:
    """Return a sort key as text and, if it may be too long for a token, a digest that is NULL unless it is too long.

    A text that is too long is cut to its first MAX_TOKEN_TEXT characters, unless `whole` is set.
    """
    text = cast(value, Text())
    if not key.may_be_long:
        return [text.label(f"key_{index}")]
    # Half of the digest is enough, and keeps the longest token within the size limit of a request.
    digest = func.encode(func.sha256(func.convert_to(text, literal_column("'UTF8'"))), literal_column("'hex'"))
    half = func.left(digest, literal_column("32"))
    is_long = func.length(text) > literal_column(str(MAX_TOKEN_TEXT))
    cut = text if whole else func.left(text, literal_column(str(MAX_TOKEN_TEXT)))
    return [cut.label(f"key_{index}"), case((is_long, half)).label(f"digest_{index}")]


def bound(name: str, type_: Any = None) -> ColumnElement[Any]:
    """Return a bind parameter whose value the statement's caller supplies."""
    return bindparam(name, required=False, type_=type_)
