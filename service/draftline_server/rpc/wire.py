"""Parsing of requests, with checks that need the raw bytes.

If several members of a oneof are set, protobuf keeps the last one and silently drops
the others. A caller that sends two alternatives has made a mistake that must not become
a write, so such requests are rejected. Only requests that are longer than their
reserialized form are checked: requests in protobuf's canonical encoding are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from google.protobuf.message import DecodeError, Message

from ..domain.errors import InvalidFieldError, UndecodableRequestError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

MAX_FIELDS = 50_000  # of a request in non-canonical encoding; checking one takes a microsecond


def parser(message_type: type[Message]) -> Callable[[bytes], Message]:
    """Return a parser of requests of a type. The parser raises UndecodableRequestError or InvalidFieldError.

    Do not pass it to grpc as a deserializer: grpc reports errors of deserializers as UNKNOWN with their text, and
    calls them before the caller is authenticated.
    """

    def parse(data: bytes) -> Message:
        try:
            message = message_type.FromString(data)
            if message.ByteSize() != len(data):
                _refuse_double_oneofs(data, message_type.DESCRIPTOR, "", count(1))
        except DecodeError:
            raise UndecodableRequestError(f"the request is no {message_type.DESCRIPTOR.full_name}") from None
        return message

    return parse


def _refuse_double_oneofs(data: bytes, descriptor: Any, where: str, looked_at: Iterator[int]) -> None:
    seen: dict[str, Any] = {}
    counts: dict[int, int] = {}
    for number, payload in fields_of(data):
        if next(looked_at) > MAX_FIELDS:
            raise UndecodableRequestError(f"the request repeats fields or pads them, and has more than {MAX_FIELDS}")
        field = descriptor.fields_by_number.get(number)
        if field is None:
            continue
        place = counts[number] = counts.get(number, -1) + 1
        oneof = field.containing_oneof
        if oneof is not None and not oneof.name.startswith("_"):
            first = seen.setdefault(oneof.name, field)
            if first is not field:
                raise InvalidFieldError.of(
                    f"{where}{oneof.name}", f"only one of {first.name} and {field.name} may be set"
                )
        if (
            field.message_type is not None
            and isinstance(payload, bytes)
            and not field.message_type.GetOptions().map_entry
        ):
            name = f"{field.name}[{place}]" if field.is_repeated else field.name
            _refuse_double_oneofs(payload, field.message_type, f"{where}{name}.", looked_at)


def fields_of(data: bytes) -> Iterator[tuple[int, bytes | int | None]]:
    """Yield the field numbers of a message with their payloads: bytes, an integer, or None for fixed-size fields.

    The message must be known to parse.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _varint(data, at)
            yield tag >> 3, data[at : at + length]
            at += length
        elif kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
            yield tag >> 3, None
        else:
            return  # groups, which this contract does not use


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
