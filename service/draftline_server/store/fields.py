"""Fields of the content as SQL: typed values at paths that are literals in the statement's text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Date, DateTime, Numeric, Text, func, literal_column
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

from ..domain.filters.ast import FieldType, Path

TYPES: Mapping[FieldType, TypeEngine[Any]] = {
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
    FieldType.TIMESTAMP: func.draftline.instant_at,
}
# Names that `#>` reads as an index if it meets an array.
_INDEX = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+")


def typed_field(content: ColumnElement[Any], path: Path, type_: FieldType) -> ColumnElement[Any]:
    """Return the value of a declared field: the one expression for its indexes, filters and orders.

    NULL where the value is missing, null or of another type.
    """
    return collated(_READERS[type_](*reached(content, path), type_=TYPES[type_]), type_)


def mistyped(content: ColumnElement[Any], path: Path, type_: FieldType) -> ColumnElement[bool]:
    """Return whether a field of the type cannot hold the value at a path; null and missing fit any type."""
    start, rest = reached(content, path)
    value = start.op("#>", return_type=JSONB())(rest)
    return func.draftline.is_mistyped(value, literal_column(f"'{type_}'", Text()), type_=Boolean())


def reads_as_index(name: str) -> bool:
    """Return whether `#>` would read the name as an index of an array."""
    return _INDEX.fullmatch(name) is not None


def reached(content: ColumnElement[Any], path: Path) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the value at which the typed functions start, and the path from there, which leads through no array.

    They use `#>`, which is the fastest operator, but reads `0` as an index if it meets an array; `->` does not. The
    first name needs no `->`, because it is looked up in the content, which is an object.
    """
    walked = max((position + 1 for position, name in enumerate(path) if position and reads_as_index(name)), default=0)
    for name in path[:walked]:
        content = content.op("->", return_type=JSONB())(literal_column(text_literal(name), Text()))
    return content, path_literal(path[walked:])


def path_literal(path: Path) -> ColumnElement[Any]:
    """Return the path as a constant text[]: a bound one would not match an index in a generic plan.

    Safe for any name: everything but ASCII letters, digits, `_` and space is written as a Unicode escape, so that
    nothing in it can end the literal or be read as a parameter.
    """
    names = ", ".join(map(text_literal, path))
    return literal_column(f"ARRAY[{names}]::text[]", ARRAY(Text()))


def text_literal(text: str) -> str:
    return f"E'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    plain = character.isascii() and (character.isalnum() or character in "_ ")
    return character if plain else f"\\U{ord(character):08x}"


def text_field(content: ColumnElement[Any], path: Path) -> ColumnElement[Any]:
    """Return the text at a path, of any length: `typed_field` leaves out those too long for an index."""
    return collated(func.draftline.text_at(*reached(content, path), type_=Text()), FieldType.TEXT)


def collated(value: ColumnElement[Any], type_: FieldType) -> ColumnElement[Any]:
    return value.collate("C") if type_ is FieldType.TEXT else value
