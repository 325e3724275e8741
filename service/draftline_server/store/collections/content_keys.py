"""The sort keys of whole contents, as the SQL function `draftline.order_key` computes them.

An import computes them where its contents are parsed anyway, in a fraction of the time that PostgreSQL takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

from ...domain.collections import IndexKey, IndexOrder
from ...domain.content import Json
from ...domain.filters.values import FieldType, read_date, read_value
from ..lists.order_keys import MISSING, encoder

MAX_TEXT_BYTES = 800  # of a text that has a key, as in draftline.indexed_text_at
MAX_DIGITS = 100  # before and after the point of a number that has a key, as in draftline.number_at
DATE_LENGTHS = (len("2026-11-20"), len("Nov 20 2026"))
DATES_KEPT = 4_096
_TOO_LARGE = 10**MAX_DIGITS

# Looking a type up for each value would take longer than encoding it.
_encoded_text = encoder(FieldType.TEXT)
_encoded_number = encoder(FieldType.NUMBER)
_encoded_boolean = encoder(FieldType.BOOLEAN)
_encoded_date = encoder(FieldType.DATE)
_encoded_time = encoder(FieldType.TIMESTAMP)


class ContentKeys:
    """Computes the sort keys of contents.

    `has_long_text` becomes True with the first text of a declared field that is longer than `max_text_bytes`.
    """

    def __init__(self, orders: Sequence[IndexOrder], max_text_bytes: int = MAX_TEXT_BYTES) -> None:
        self.has_long_text = False
        self._max_text_bytes = max_text_bytes
        parts = list(dict.fromkeys(key for order in orders for key in order))
        self._parts = [(key.path[0], key.path[1:], self._encoder(key)) for key in parts]
        self._orders = [tuple(parts.index(key) for key in order) for order in orders]

    def __call__(self, content: Mapping[str, Json]) -> list[bytes]:
        """Return the key of a content for each order. Its values are those that its JSON text has, numbers exactly."""
        parts: list[bytes] = []
        for first, rest, encode in self._parts:
            value = content.get(first)
            for name in rest:
                value = value.get(name) if isinstance(value, dict) else None
            parts.append(MISSING if value is None else encode(value))
        return [parts[each[0]] if len(each) == 1 else b"".join([parts[i] for i in each]) for each in self._orders]

    def _encoder(self, key: IndexKey) -> Callable[[Json], bytes]:
        """Return the function that encodes a value of a field, which is not None."""
        read, descending = self._text if key.type is FieldType.TEXT else _READERS[key.type], key.descending
        return lambda value: read(value, descending)

    def _text(self, value: Json, descending: bool) -> bytes:
        if not isinstance(value, str):
            return MISSING
        size = len(value) if value.isascii() else len(value.encode())
        if size > self._max_text_bytes:
            self.has_long_text = True
        return _encoded_text(value, descending) if size <= MAX_TEXT_BYTES else MISSING


def _number(value: Json, descending: bool) -> bytes:
    if isinstance(value, float):
        value = Decimal(repr(value))  # the digits that its JSON text has
    if isinstance(value, Decimal):
        has_key = int(value.as_tuple().exponent) >= -MAX_DIGITS
    else:
        has_key = isinstance(value, int) and not isinstance(value, bool)
    if not has_key or not -_TOO_LARGE < value < _TOO_LARGE:
        return MISSING
    return _encoded_number(value, descending)


def _boolean(value: Json, descending: bool) -> bytes:
    return _encoded_boolean(value, descending) if isinstance(value, bool) else MISSING


def _date(value: Json, descending: bool) -> bytes:
    return _date_of(value, descending) if isinstance(value, str) and len(value) in DATE_LENGTHS else MISSING


@lru_cache(DATES_KEPT)
def _date_of(text: str, descending: bool) -> bytes:
    date = read_date(text)
    return MISSING if date is None else _encoded_date(date, descending)


def _timestamp(value: Json, descending: bool) -> bytes:
    time = read_value(value, FieldType.TIMESTAMP) if isinstance(value, str) else None
    return MISSING if time is None else _encoded_time(time, descending)


_READERS: Mapping[FieldType, Callable[[Json, bool], bytes]] = {
    FieldType.NUMBER: _number,
    FieldType.BOOLEAN: _boolean,
    FieldType.DATE: _date,
    FieldType.TIMESTAMP: _timestamp,
}
