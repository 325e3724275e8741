"""Requests by their descriptors: good ones of every rpc, every place in them, and any bytes put there.

Nothing here knows an rpc or a field but by the names that fields share, so that what is added to the contract is
covered as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from draftline_server.rpc.server import SERVICES
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
WELL_KNOWN = "google.protobuf"  # what Struct and its like are made of is no field of the contract
VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)

# Values that fields of these names have in a good request; any other is left out.
GOOD: dict[str, Any] = {
    "collection": "films",
    "record_id": "m-1",
    "json": '{"a": 1}',
    "op": "add",
    "path": "/a",
    "all": True,
    "commit_id": "0195f0a0-0000-7000-8000-000000000001",
    "type": 1,
    "version": 1,
    "include_content": True,
    "record_count": 1,
    "response_encoding": 2,
}


@dataclass(frozen=True)
class Place:
    """A field of a request, with the fields that lead to it."""

    path: tuple[Any, ...]

    @property
    def field(self) -> Any:
        return self.path[-1]

    def __str__(self) -> str:
        return ".".join(field.name for field in self.path)


def name_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def is_message(field: Any) -> bool:
    kind = field.message_type
    return kind is not None and not kind.full_name.startswith(WELL_KNOWN) and not kind.GetOptions().map_entry


def good(descriptor: Any, chosen: tuple[Any, ...] = (), **values: Any) -> Any:
    """A message that keeps the rules, its fields as in GOOD and `values`, by their names.

    Of each oneof it has the chosen member, or else one with such a value, or else the first.
    """
    known = {**GOOD, **values}
    message: Any = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        oneof = field.containing_oneof
        if oneof is not None and not oneof.name.startswith("_"):
            plain = next((each for each in oneof.fields if each.name in known), oneof.fields[0])
            if field is not next((each for each in chosen if each.containing_oneof is oneof), plain):
                continue
        target = getattr(message, field.name)
        if is_message(field):
            (target.add() if field.is_repeated else target).CopyFrom(good(field.message_type, chosen, **values))
        elif field.message_type is not None:
            if not field.is_repeated:
                target.SetInParent()
        elif field.name in known and not field.is_repeated and _fits(field, known[field.name]):
            setattr(message, field.name, known[field.name])
    return message


def _fits(field: Any, value: Any) -> bool:
    """Return whether a value is of the type of a field: fields of one name have different types in some messages."""
    return isinstance(value, str) is (field.cpp_type == field.CPPTYPE_STRING)


@cache
def places(descriptor: Any) -> tuple[Place, ...]:
    """Every field of a request type, in whatever it holds too."""
    return tuple(Place(path) for path in _paths(descriptor, ()))


def _paths(descriptor: Any, above: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for field in descriptor.fields:
        yield (*above, field)
        if is_message(field) and field.message_type not in {each.message_type for each in above}:
            yield from _paths(field.message_type, (*above, field))


def with_bytes(message: Any, place: Place, raw: bytes) -> bytes:
    """The message as bytes, with `raw`, a field with its tag, in the place of what it has there."""
    head, *rest = place.path
    kept = type(message)()
    kept.CopyFrom(message)
    kept.ClearField(head.name)
    oneof = head.containing_oneof
    if oneof is not None and kept.WhichOneof(oneof.name):
        kept.ClearField(kept.WhichOneof(oneof.name))
    if rest:
        value = getattr(message, head.name)
        raw = field_bytes(head.number, with_bytes(value[0] if head.is_repeated else value, Place(tuple(rest)), raw))
    data: bytes = kept.SerializeToString() + raw
    return data


def field_bytes(number: int, payload: bytes) -> bytes:
    """A text, bytes or a message, as a field."""
    return varint(number << 3 | BYTES) + varint(len(payload)) + payload


def number_bytes(number: int, value: int) -> bytes:
    """An integer, as a field; negative ones as protobuf writes them."""
    return varint(number << 3 | VARINT) + varint(value & (2**64 - 1))


def varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def is_text(field: Any) -> bool:
    return bool(field.cpp_type == FieldDescriptor.CPPTYPE_STRING)
