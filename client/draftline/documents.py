"""Conversion between JSON text and Python values that keeps every number exact.

Numbers are decoded as follows:

* an integer is an `int`, whatever its length;
* any other number is a `float` if the float holds exactly that decimal value
  (`Decimal(repr(number))` equals it), else a `decimal.Decimal`. With `numbers_as("decimal")`, and for
  a client with `numbers="decimal"`, it is always a `Decimal`.

When encoded, an `int`, a `Decimal` and a `float` keep every digit of their Python
representation. NaN and the infinities are not valid JSON and are rejected. Values that JSON
lacks are encoded as follows:

* an aware `datetime` is an RFC 3339 timestamp with its offset, a `date` is `2026-11-20`;
* a `UUID` is its text with hyphens;
* an `Enum` is encoded as its value.

They are decoded as the texts and numbers that are stored.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal
from uuid import UUID

from google.protobuf.json_format import MessageToDict

from draftline.v1 import types_pb2

# Far above the service's limit (32 levels), far below Python's recursion limit.
MAX_DEPTH = 200

# A decimal of at most 15 digits survives a round trip through a double (IEEE 754); the
# decimal point is one more character.
_ALWAYS_EXACT_LENGTH = 16

# The lowest limit that `sys.set_int_max_str_digits` accepts: a text of at most this length
# always converts.
_INT_DIGITS_ALWAYS_ALLOWED = 640

_quote: Callable[[str], str] = json.encoder.encode_basestring

Numbers = Literal["exact", "decimal"]

# The advice for types that have no JSON form.
_HINTS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (
        (bytes, bytearray, memoryview),
        "encode it as text first, for example by base64.b64encode(value).decode(), or store it elsewhere",
    ),
    ((set, frozenset), "write sorted(value) or list(value)"),
    (timedelta, "write value.total_seconds(), or a text"),
    (time, "write value.isoformat()"),
    ((deque, range, Iterator), "write list(value)"),
    (PurePath, "write str(value)"),
)


class _RejectedError(Exception):
    """A value that cannot be encoded, and the keys and indexes that lead to it, the innermost first."""

    def __init__(self, kind: type[TypeError | ValueError], problem: str) -> None:
        super().__init__(problem)
        self.kind = kind
        self.keys: list[str | int] = []

    def public(self) -> TypeError | ValueError:
        path = "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in reversed(self.keys))
        if len(path) > 200:  # a value that contains itself has a path of hundreds of keys
            path = path[:200] + "..."
        return self.kind(f"at {path}: {self}" if path else str(self))


def encode(value: object) -> str:
    """Return the JSON text of a value made of dict, list, tuple, str, int, float, Decimal, bool and None.

    An aware datetime, a date, a UUID and an Enum are encoded as the module describes. Errors name the
    path of the value as a JSON Pointer.

    Raises:
        TypeError: a value has another type, or a key is not a string.
        ValueError: a value is NaN, an infinity or a datetime without a time zone, contains a lone
            surrogate, is nested more than 200 levels deep, or contains itself.
    """
    parts: list[str] = []
    try:
        _write(value, parts, 0)
    except _RejectedError as error:
        raise error.public() from None
    text = "".join(parts)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            problem = _RejectedError(ValueError, f"a string contains the lone surrogate {error.object[error.start]!a}")
            problem.keys = _keys_to_surrogate(value)
            raise problem.public() from None
    return text


def decode(text: str) -> Any:
    """Return the value of a JSON text, with numbers as described above.

    Raises:
        ValueError: the text is not valid JSON.
    """
    decoder = _decimal_decoder if _numbers.get() == "decimal" else _decoder
    try:
        return decoder.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer over the interpreter's digit limit
        return (_long_decimal_decoder if decoder is _decimal_decoder else _long_decoder).decode(text)


@contextmanager
def numbers_as(numbers: Numbers) -> Iterator[None]:
    """Decode numbers with a fraction or an exponent as "exact" (see the module) or "decimal" during the block.

    with numbers_as("decimal"):
        decode("0.5")  # Decimal('0.5')
    """
    former = _numbers.set(numbers)
    try:
        yield
    finally:
        _numbers.reset(former)


def encode_object(content: Mapping[str, Any]) -> str:
    """Return the JSON text of an object. Raises like `encode`, and TypeError if `content` is not a mapping."""
    if not isinstance(content, Mapping):
        raise TypeError(f"content must be a dict, not {type(content).__name__}")
    return encode(content)


def document(content: Mapping[str, Any]) -> types_pb2.Document:
    """Return the message for an object. Raises like `encode_object`."""
    return types_pb2.Document(json=encode_object(content))


def content_of(message: types_pb2.Document) -> dict[str, Any]:
    """Return the object in a message, in either of its encodings."""
    if message.WhichOneof("encoding") == "struct":
        return MessageToDict(message.struct)
    content: dict[str, Any] = decode(message.json) if message.json else {}
    return content


def json_value_of(message: types_pb2.JsonValue) -> Any:
    """Return the value in a message, in either of its encodings. Raise ValueError if its text is not valid JSON."""
    if message.WhichOneof("encoding") == "value":
        return MessageToDict(message.value)
    return decode(message.json)


def _write(value: object, parts: list[str], depth: int) -> None:
    if isinstance(value, str):
        parts.append(_quote(value))
    elif value is None:
        parts.append("null")
    elif isinstance(value, bool):
        parts.append("true" if value else "false")
    elif isinstance(value, (int, float, Decimal)):
        parts.append(_number(value))
    elif depth == MAX_DEPTH:
        raise _RejectedError(ValueError, f"the value is nested more than {MAX_DEPTH} levels deep, or contains itself")
    elif isinstance(value, Mapping):
        _write_object(value, parts, depth)
    elif isinstance(value, (list, tuple)):
        _write_array(value, parts, depth)
    elif isinstance(value, Enum):
        _write(value.value, parts, depth + 1)
    else:
        parts.append(_quote(_text(value)))


def _write_object(value: Mapping[Any, Any], parts: list[str], depth: int) -> None:
    separator = "{"
    for key, member in value.items():
        if not isinstance(key, str):
            raise _RejectedError(TypeError, f"the key {key!r} is not a string: write str(key)")
        write_scalar = _SCALARS.get(type(member))
        try:
            if write_scalar is not None:
                parts.append(f"{separator}{_quote(key)}:{write_scalar(member)}")
            else:
                parts.append(f"{separator}{_quote(key)}:")
                _write(member, parts, depth + 1)
        except _RejectedError as error:
            error.keys.append(key)
            raise
        separator = ","
    parts.append("{}" if separator == "{" else "}")


def _write_array(value: list[Any] | tuple[Any, ...], parts: list[str], depth: int) -> None:
    separator = "["
    for index, element in enumerate(value):
        parts.append(separator)
        try:
            _write(element, parts, depth + 1)
        except _RejectedError as error:
            error.keys.append(index)
            raise
        separator = ","
    parts.append("[]" if separator == "[" else "]")


def _keys_to_surrogate(value: object) -> list[str | int]:
    """Return the keys and indexes that lead to the first lone surrogate, the innermost first; empty if a key has it."""
    members: Iterable[tuple[Any, object]] = ()
    if isinstance(value, Mapping):
        members = value.items()
    elif isinstance(value, (list, tuple)):
        members = enumerate(value)
    for key, member in members:
        if _has_surrogate(member):
            return [*_keys_to_surrogate(member), key]
    return []


def _has_surrogate(value: object) -> bool:
    try:
        encode(value)
    except ValueError:
        return True
    return False


def _text(value: object) -> str:
    """Return the text for a value of a type that JSON lacks."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return _timestamp(value)
    if isinstance(value, date):
        return value.isoformat()
    hint = next((hint for types, hint in _HINTS if isinstance(value, types)), "")
    if is_dataclass(value) and not isinstance(value, type):
        hint = "write dataclasses.asdict(value), or use a typed collection"
    raise _RejectedError(TypeError, f"{type(value).__name__} is not a JSON type" + (hint and f": {hint}"))


def _timestamp(value: datetime) -> str:
    """Return the RFC 3339 text of an aware datetime, whose offset is in whole minutes."""
    offset = value.utcoffset()
    if offset is None:
        raise _RejectedError(
            ValueError,
            f"the datetime {value.isoformat()} has no time zone: pass an aware one, such as datetime.now(timezone.utc)",
        )
    if offset % timedelta(minutes=1):
        value = value.astimezone(timezone.utc)
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _integer(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:  # over the interpreter's digit limit, which does not apply to Decimal
        return Decimal.__str__(Decimal(value))


def _number(value: float | Decimal) -> str:
    # Use the base types' own methods: the repr of a subclass (an enum, a NumPy double) may
    # not be a JSON number.
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        text = float.__repr__(value)
        if text in ("nan", "inf", "-inf"):
            raise _RejectedError(ValueError, f"{text} is not a JSON number")
        return text
    if not value.is_finite():
        raise _RejectedError(ValueError, f"{value} is not a JSON number")
    return Decimal.__str__(value)


# How values of exactly these types are written, without a call for each alternative; `_write` writes subclasses.
_SCALARS: dict[type, Callable[[Any], str]] = {
    str: _quote,
    int: _integer,
    float: _number,
    Decimal: _number,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
}


def _parse_float(text: str) -> float | Decimal:
    number = float(text)
    if len(text) <= _ALWAYS_EXACT_LENGTH and "e" not in text and "E" not in text:
        return number
    exact = Decimal(text)
    return number if abs(number) <= sys.float_info.max and Decimal(repr(number)) == exact else exact


def _parse_int(text: str) -> int:
    return int(text) if len(text) <= _INT_DIGITS_ALWAYS_ALLOWED else int(Decimal(text))


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


_decoder = json.JSONDecoder(parse_float=_parse_float, parse_constant=_reject_constant)
_long_decoder = json.JSONDecoder(parse_float=_parse_float, parse_int=_parse_int, parse_constant=_reject_constant)
_decimal_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_reject_constant)
_long_decimal_decoder = json.JSONDecoder(parse_float=Decimal, parse_int=_parse_int, parse_constant=_reject_constant)
_numbers: ContextVar[Numbers] = ContextVar("numbers", default="exact")
