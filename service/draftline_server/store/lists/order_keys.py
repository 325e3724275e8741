"""Sort keys as bytes, as the SQL function `draftline.order_key` makes them, and ranges of them.

Keys sort like the values that they hold. No value is a prefix of another one, so all keys whose first fields have given
values are one range, and so are all keys with a greater or a lesser value in the next field, or with a text that starts
with a prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from ...domain.collections import IndexKey
from ...domain.filters.ast import FieldType, Operator
from ...domain.filters.values import Value

MISSING = b"\xff"  # null, missing or of another type
_PRESENT = 0x10  # the first byte of a value is between this one and MISSING
_INVERTED = bytes(range(255, -1, -1))
_NEXT_DIGIT = str.maketrans("0123456789", "123456789a")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_LAST_EXPONENT = 120  # beyond those of stored numbers; only a filter's value can exceed it
_BEFORE_DIGITS = {exponent: f"19{exponent + 128:02x}" for exponent in range(-_LAST_EXPONENT, _LAST_EXPONENT + 1)}


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys from `low` up to, but without, `high`."""

    low: bytes
    high: bytes

    def intersection(self, other: KeyRange) -> KeyRange:
        return KeyRange(max(self.low, other.low), min(self.high, other.high))


def encoded(values: Sequence[Value | None], order: Sequence[IndexKey]) -> bytes:
    """Return the sort key of values, one for each key of the order; None is null, missing or of another type."""
    return b"".join(
        MISSING if value is None else encoded_value(value, key.type, descending=key.descending)
        for value, key in zip(values, order, strict=True)
    )


def encoded_value(value: Value, type_: FieldType, *, descending: bool) -> bytes:
    return _ENCODERS[type_](value, descending)


def encoder(type_: FieldType) -> Callable[[Any, bool], bytes]:
    """Return the function that encodes values of the type; of NUMBER, also int."""
    return _ENCODERS[type_]


def decoded(key: bytes, order: Sequence[IndexKey]) -> list[str | None]:
    """Return the values of a sort key as texts that PostgreSQL casts to their types, and None for missing ones."""
    values: list[str | None] = []
    start = 0
    for each in order:
        if key[start : start + 1] == MISSING:
            values.append(None)
            start += 1
        else:
            text, size = _DECODERS[each.type](key[start:], each.descending)
            values.append(text)
            start += size
    return values


def value_of(text: object, key: IndexKey) -> Value | None:
    """Return the value whose text PostgreSQL or `decoded` made; None for None."""
    if not isinstance(text, str) or key.type is FieldType.TEXT:
        return text if isinstance(text, str) else None
    if key.type is FieldType.NUMBER:
        return Decimal(text)
    if key.type is FieldType.BOOLEAN:
        return text == "true"
    return date.fromisoformat(text) if key.type is FieldType.DATE else datetime.fromisoformat(text)


def all_keys(order: Sequence[IndexKey]) -> KeyRange:
    """Return the range of all keys of an order."""
    return KeyRange(b"", MISSING * (len(order) + 1))


def with_prefix(prefix: bytes) -> KeyRange:
    """Return the range of the keys that start with the prefix, in which some byte is not 255."""
    return KeyRange(prefix, _after(prefix))


def compared(prefix: bytes, key: IndexKey, operator: Operator, value: Value) -> KeyRange:
    """Return the range of the keys that start with the prefix and whose next value compares so (not NE, not HAS)."""
    at = prefix + encoded_value(value, key.type, descending=key.descending)
    if operator is Operator.EQ:
        return with_prefix(at)
    is_first = operator in (Operator.LT, Operator.LE)
    if is_first != key.descending:  # the values that sort before the given one
        is_included = operator in (Operator.LE, Operator.GE)
        return KeyRange(prefix + bytes([_PRESENT]), _after(at) if is_included else at)
    is_excluded = operator in (Operator.LT, Operator.GT)
    return KeyRange(_after(at) if is_excluded else at, prefix + MISSING)


def starting_with(prefix: bytes, key: IndexKey, text: str) -> KeyRange:
    """Return the range of the keys that start with the prefix and whose next value starts with the text."""
    whole = encoded_value(text, FieldType.TEXT, descending=key.descending)
    return with_prefix(prefix + whole[:-1])


def _after(prefix: bytes) -> bytes:
    """Return the first bytes that sort after all that start with the prefix."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1])


def _text(value: Any, descending: bool) -> bytes:
    text: bytes = value.encode() + b"\0"
    return b"\x10" + (text.translate(_INVERTED) if descending else text)


def _number(value: Any, descending: bool) -> bytes:
    if not value:
        return b"\x17" if descending else b"\x18"
    if isinstance(value, int):
        digits = str(abs(value))
        exponent = min(len(digits), _LAST_EXPONENT)
    else:
        digits = "".join(map(str, value.as_tuple().digits))
        exponent = max(-_LAST_EXPONENT, min(value.adjusted() + 1, _LAST_EXPONENT))
    significant = digits.rstrip("0")
    end = "0" if len(significant) % 2 else "00"
    whole = bytes.fromhex(_BEFORE_DIGITS[exponent] + significant.translate(_NEXT_DIGIT) + end)
    return whole if (value < 0) == descending else b"\x16" + whole[1:].translate(_INVERTED)


def _boolean(value: Any, descending: bool) -> bytes:
    return b"\x19" if value != descending else b"\x16"


def _date(value: Any, descending: bool) -> bytes:
    return _signed((value - date(2000, 1, 1)).days, 4, descending)


def _timestamp(value: Any, descending: bool) -> bytes:
    since = value - _EPOCH
    return _signed((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds, 8, descending)


def _signed(number: int, size: int, descending: bool) -> bytes:
    number = ~number if descending else number
    sign = 2 if number >= 0 else 1
    bits = size * 8 - 4
    return (sign << bits | number & (1 << bits) - 1).to_bytes(size)


def _decoded_text(key: bytes, descending: bool) -> tuple[str, int]:
    end = key.index(b"\xff" if descending else b"\0")
    text = key[1:end]
    return (text.translate(_INVERTED) if descending else text).decode(), end + 1


def _decoded_number(key: bytes, descending: bool) -> tuple[str, int]:
    if key[0] in (0x17, 0x18):
        return "0", 1
    is_inverted = key[0] == 0x16
    nibbles = (key.translate(_INVERTED) if is_inverted else key).hex()[2:]
    end = nibbles.index("0", 2)
    exponent = int(nibbles[:2], 16) - 128
    significant = "".join(str(int(nibble, 16) - 1) for nibble in nibbles[2:end])
    sign = "-" if is_inverted != descending else ""
    return f"{sign}{Decimal(f'0.{significant}E{exponent}'):f}", 1 + (end + 2) // 2


def _decoded_boolean(key: bytes, descending: bool) -> tuple[str, int]:
    return "true" if (key[0] == 0x19) != descending else "false", 1


def _decoded_date(key: bytes, descending: bool) -> tuple[str, int]:
    return (date(2000, 1, 1) + timedelta(days=_decoded_signed(key[:4], descending))).isoformat(), 4


def _decoded_timestamp(key: bytes, descending: bool) -> tuple[str, int]:
    return (_EPOCH + timedelta(microseconds=_decoded_signed(key[:8], descending))).isoformat(" "), 8


def _decoded_signed(key: bytes, descending: bool) -> int:
    number = int.from_bytes(key) - (2 << len(key) * 8 - 4)
    return ~number if descending else number


_DECODERS: Mapping[FieldType, Callable[[bytes, bool], tuple[str, int]]] = {
    FieldType.TEXT: _decoded_text,
    FieldType.NUMBER: _decoded_number,
    FieldType.BOOLEAN: _decoded_boolean,
    FieldType.DATE: _decoded_date,
    FieldType.TIMESTAMP: _decoded_timestamp,
}
_ENCODERS: Mapping[FieldType, Callable[[Any, bool], bytes]] = {
    FieldType.TEXT: _text,
    FieldType.NUMBER: _number,
    FieldType.BOOLEAN: _boolean,
    FieldType.DATE: _date,
    FieldType.TIMESTAMP: _timestamp,
}
