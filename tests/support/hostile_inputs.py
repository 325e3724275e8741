"""Hostile bytes for every field of every request, each with its kind."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from support.hostile_values import FILTERS, JSONS, MIB, NO_UTF8, NUMBERS, SCHEMAS, TEXTS, TOKENS
from support.request_bytes import (
    BYTES,
    END_GROUP,
    FIXED32,
    FIXED64,
    GROUP,
    VARINT,
    field_bytes,
    is_message,
    is_text,
    number_bytes,
    places,
    varint,
)


@dataclass(frozen=True)
class Case:
    """One call: the messages that it sends, and what marks whatever it should write."""

    kind: str
    method: MethodDescriptor
    messages: tuple[bytes, ...]
    metadata: tuple[tuple[str, str | bytes], ...] = ()

    @property
    def is_large(self) -> bool:
        return sum(map(len, self.messages)) > 64 * 1024


def text_bytes(field: Any) -> Iterator[tuple[str, bytes]]:
    """Yield hostile values for a text field: (kind, bytes)."""
    for kind, texts in TEXTS.items():
        if kind != "request id" or field.name.endswith("_id"):
            yield from ((kind, text.encode()) for text in texts)
    yield from (("no UTF-8", data) for data in NO_UTF8)
    if field.name in ("filter", "condition", "order_by"):
        yield from (("filter", text.encode()) for text in FILTERS)
    if field.name.endswith("_token"):
        yield from (("token", text.encode()) for text in TOKENS)
    if field.name == "json":
        yield from (("JSON", text.encode()) for text in JSONS)
    if field.name == "json_schema":
        yield from (("JSON Schema", text.encode()) for text in [*JSONS, *SCHEMAS])


def struct_bytes(field: Any) -> Iterator[bytes]:
    """Bytes of a Struct, or of a Value that holds one."""
    for data in _structs():
        yield data if field.message_type.name == "Struct" else field_bytes(5, data)
    if field.message_type.name == "Value":
        yield from (b"", number_bytes(1, 7), _number(float("nan")), _number(float("inf")), field_bytes(3, b"\0"))


@cache
def _structs() -> Sequence[bytes]:
    def member(key: bytes, value: bytes) -> bytes:
        return field_bytes(1, field_bytes(1, key) + field_bytes(2, value))

    def nested(levels: int) -> bytes:
        data = b""
        for _ in range(levels):
            data = member(b"a", field_bytes(5, data))
        return data

    def listed(levels: int) -> bytes:
        data = b""
        for _ in range(levels):
            data = field_bytes(6, field_bytes(1, data))
        return member(b"a", data)

    one = _number(1.0)
    return [
        b"", *map(nested, (31, 32, 33, 98, 1000, 5000)), *map(listed, (31, 33, 60, 1000, 5000)),
        *(member(b"a", _number(number)) for number in (float("nan"), float("inf"), float("-inf"), -0.0, 1e308, 5e-324)),
        member(b"a", b""), member(b"", one), member(b"\0", one), member(b"\xff", one),
        member(b"a", field_bytes(3, b"\0")),
        member(b"a", field_bytes(3, b"\xed\xa0\x80")), member(b"a", one) + member(b"a", field_bytes(3, b"b")),
        field_bytes(1, b""),
        member(b"a", number_bytes(1, 99)), member(b"a", number_bytes(1, -1)), member(b"a", one + field_bytes(3, b"b")),
        b"".join(member(str(number).encode(), one) for number in range(100_000)), member(b"a", one) * 100_000,
        member(b"a", field_bytes(6, field_bytes(1, one) * 200_000)), member(b"a", field_bytes(3, b"x" * (10 * MIB))),
        member(b"k" * (2 * MIB), one),
    ]  # fmt: skip


def _number(number: float) -> bytes:
    return varint(2 << 3 | FIXED64) + struct.pack("<d", number)


def wrong_types(field: Any) -> Iterator[bytes]:
    """A field as it is not written: every wire type, cut off lengths, groups."""
    tag = field.number << 3
    yield from (varint(tag | VARINT) + data for data in (b"\xff" * 10, b"\x80" * 11))
    yield from (varint(tag | BYTES) + data for data in (varint(2**31), varint(2**63) + b"a", b"\xff" * 5))
    yield from (varint(tag | FIXED64) + b"12345678", varint(tag | FIXED32) + b"1234")
    yield from (varint(tag | GROUP) + varint(tag | END_GROUP), varint(tag | GROUP) * 300, varint(tag | END_GROUP))
    yield from (varint(tag | 6), varint(tag | 7) + b"a")


def field_cases(method: MethodDescriptor, marked: Any) -> Iterator[Case]:
    """Hostile bytes in every field of the request of an rpc. `marked` makes its messages of the one at a place."""
    for place in places(method.input_type):
        field = place.field
        if is_message(field):
            raws = [("wrong type", raw) for raw in wrong_types(field)]
            raws += [("many", field_bytes(field.number, b"") * 200_000)] if field.is_repeated else []
        elif field.message_type is not None:
            raws = [("Struct", field_bytes(field.number, data)) for data in struct_bytes(field)]
        elif is_text(field):
            raws = [(kind, field_bytes(field.number, data)) for kind, data in text_bytes(field)]
            raws += [("wrong type", raw) for raw in wrong_types(field)]
        else:
            kind = "enum" if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM else "number"
            raws = [(kind, number_bytes(field.number, number)) for number in NUMBERS]
            raws += [("wrong type", raw) for raw in wrong_types(field)]
        yield from (Case(kind, method, marked(place, raw)) for kind, raw in raws)


def large_cases(method: MethodDescriptor, marked: Any) -> Iterator[Case]:
    """10 MB in every field of text, and more than a message may have in one."""
    texts = [place for place in places(method.input_type) if is_text(place.field)]
    for number, place in enumerate(texts):
        yield Case("10 MB", method, marked(place, field_bytes(place.field.number, b"x" * (10 * MIB))))
        if number == 0:
            yield Case("17 MB", method, marked(place, field_bytes(place.field.number, b"x" * (17 * MIB))))


def cut_cases(method: MethodDescriptor, whole: tuple[bytes, ...]) -> Iterator[Case]:
    """Good messages that end too soon, or go on."""
    for number, message in enumerate(whole):
        for end in range(0, len(message), max(1, len(message) // 60)):
            yield Case("cut off", method, (*whole[:number], message[:end], *whole[number + 1 :]))
        yield Case("twice", method, (*whole[:number], message + message, *whole[number + 1 :]))
    yield Case("no message", method, ())
    yield Case("many messages", method, whole * 20 if method.client_streaming else whole[:1] * 2)


def metadata_cases(method: MethodDescriptor, whole: tuple[bytes, ...], token: str) -> Iterator[Case]:
    """A good request, told to be from whom it is not, or from too many."""
    good_one = ("authorization", f"Bearer {token}")
    shown = [text for text in all_texts() if text and text.isascii() and text.isprintable() and text == text.strip()]
    head, payload, signature = token.split(".")
    tokens = [
        "", "Bearer", "Bearer ", "bearer " + "x" * 8000, f"Basic {token}", f"Bearer {token}x", f"Bearer  {token}",
        f"Bearer {head}",
        f"Bearer {head}.{payload}.", f"Bearer .{payload}.{signature}", f"Bearer {head}.{head}.{signature}",
        f"Bearer {token} {token}",
        f"Bearer eyJhbGciOiJub25lIn0.{payload}.", f"Bearer {token[:-1]}", *(f"Bearer {text}" for text in shown[:20]),
    ]  # fmt: skip
    everything: list[tuple[tuple[str, str | bytes], ...]] = [
        *((("authorization", value),) for value in tokens), (good_one, good_one),
        (good_one, ("authorization", "Bearer x")),
        *((good_one, ("x-draftline-user", text)) for text in shown[:20]),
        (good_one, ("tenant-id", "other"), ("x-tenant-id", "other")),
        (good_one, *((f"x-{n}", "a") for n in range(100))), (good_one, ("x-large", "a" * 7000)),
        (good_one, ("x" * 5000, "a")),
        (good_one, ("x-bytes-bin", bytes(range(256)))), (good_one, ("grpc-trace-bin", b"\0" * 1000)),
        (good_one, ("traceparent", "00-x-y-z")), (good_one, ("grpc-tags-bin", b"\xff")),
        (("authorization-bin", token.encode()),),
    ]  # fmt: skip
    yield from (Case("metadata", method, whole, metadata) for metadata in everything)


def all_texts() -> Iterable[str]:
    return (text for texts in TEXTS.values() for text in texts)
