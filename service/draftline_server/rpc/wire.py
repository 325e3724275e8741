"""Requests off the wire, and what their bytes alone can tell.

protobuf keeps the last member of a oneof that is set twice and drops the others
silently. A caller that sent both of two alternatives has made a mistake that
should not become a write, so it is looked for, but only in requests that are longer
than what was kept of them: those that were sent as protobuf writes them are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from google.protobuf.message import DecodeError, Message

from ..domain.errors import InvalidFieldError, UndecodableRequestError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

MAX_FIELDS = 50_000  # of a request that was not sent as protobuf writes it; to look at each takes a microsecond


def parser(message_type: type[Message]) -> Callable[[bytes], Message]:
    """Parses requests of a type. UndecodableRequestError or InvalidFieldError for what cannot be taken.

    It is not for grpc to call: what its deserializers raise reaches the caller as UNKNOWN with its text, and they
    are called before it is known who asks.
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
    """The field numbers of a message that is known to parse, with the bytes or the integer that they hold."""
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
            return  # groups: nothing of this contract


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
