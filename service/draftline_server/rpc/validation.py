"""Parsing and validation of requests.

A request passes three checks before it reaches a service:

1. `parser` decodes it and rejects a oneof with several members set. Protobuf would keep the last member and silently
   drop the others, so a caller's mistake could become a write.
2. `reject_oversized_lists` rejects lists that are too long. protovalidate checks every element of a list before it
   reports that there are too many; for half a million elements that takes half a minute.
3. `check` applies the protovalidate rules of the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from ..domain.errors import InvalidFieldError, UndecodableRequestError

# Wire types.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

MAX_FIELDS = 50_000  # of a request in non-canonical encoding; checking one takes a microsecond
MAX_MESSAGES = 50_000  # in all lists of a request together: a thousand edits of a thousand operations are as expensive

# The field numbers of the rules in a field's options: FieldOptions.(buf.validate.field), FieldRules.repeated,
# RepeatedRules.max_items (buf/validate/validate.proto).
RULES, REPEATED, MAX_ITEMS = 1159, 18, 2

# Regular expressions in the contract, and the error messages for them.
PATTERN_PROBLEMS = {
    r"^\P{Cc}*$": "must not contain control characters",
    r"^[^\x00]*$": "must not contain U+0000",
    "^/": "must start with / (a JSON Pointer, RFC 6901)",
    "^(/|$)": "must be empty or start with / (a JSON Pointer, RFC 6901)",
    "^[A-Za-z_][A-Za-z0-9_]*$": "must consist of letters, digits and underscores, and must not start with a digit",
    "^-?[0-9]{1,100}([.][0-9]{1,100})?$": "must be a number of at most 100 digits before and after the point",
}


def parser(message_type: type[Message]) -> Callable[[bytes], Message]:
    """Return a parser of requests of a type. The parser raises UndecodableRequestError or InvalidFieldError.

    Do not pass it to grpc as a deserializer: grpc reports errors of deserializers as UNKNOWN with their text, and
    calls them before the caller is authenticated.
    """

    def parse(data: bytes) -> Message:
        try:
            message = message_type.FromString(data)
            # A request in canonical encoding, which no caller's mistake breaks, is as long as its reserialized form.
            if message.ByteSize() != len(data):
                _reject_repeated_oneofs(data, message_type.DESCRIPTOR, "", count(1))
        except DecodeError:
            raise UndecodableRequestError(f"the request is not a valid {message_type.DESCRIPTOR.full_name}") from None
        return message

    return parse


def check(request: Message) -> None:
    """Raise InvalidFieldError if the request violates the rules of the contract."""
    reject_oversized_lists(request)
    violations = protovalidate.collect_violations(request)
    if violations:
        fields = [(_path(violation.proto.field), _problem(violation, request)) for violation in violations]
        raise InvalidFieldError("; ".join(f"{field}: {problem}" for field, problem in fields), fields=fields)


def _problem(violation: protovalidate.Violation, request: Message) -> str:
    problem = PATTERN_PROBLEMS.get(violation.rule_value) if isinstance(violation.rule_value, str) else None
    if problem is not None:
        return problem
    descriptor: Any = request.DESCRIPTOR
    path: Any = violation.proto.field
    *parents, last = path.elements
    for element in parents:
        descriptor = descriptor.fields_by_name[element.field_name].message_type
    oneof = descriptor.oneofs_by_name.get(last.field_name)
    if oneof is not None:
        return f"exactly one of {', '.join(member.name for member in oneof.fields)} must be set"
    return violation.proto.message


def _path(path: Any) -> str:
    parts: list[str] = []
    for element in path.elements:
        subscript = element.subscript
        index = f"[{subscript.value}]" if subscript is not None else ""
        parts.append(element.field_name + index)
    return ".".join(parts)


@dataclass(frozen=True, slots=True)
class _List:
    """A field that is a list with a limit, or whose messages contain such lists."""

    name: str
    is_repeated: bool
    max_items: int | None
    holds_messages: bool
    inner: tuple[_List, ...]


def reject_oversized_lists(message: Message) -> None:
    """Raise InvalidFieldError if a list exceeds its max_items, or all lists together exceed MAX_MESSAGES."""
    _check_lists(message, _lists(message.DESCRIPTOR), "", MAX_MESSAGES)


def _check_lists(message: Any, lists: tuple[_List, ...], prefix: str, room: int) -> int:
    """Check the lists and return how many more messages are allowed."""
    for field in lists:
        value, path = getattr(message, field.name), f"{prefix}{field.name}"
        if field.is_repeated and field.max_items is not None and len(value) > field.max_items:
            raise InvalidFieldError.of(path, f"must contain no more than {field.max_items} item(s)")
        if field.is_repeated and field.holds_messages:
            room -= len(value)
            if room < 0:
                problem = f"the lists of a request may have {MAX_MESSAGES} items in total; split the request"
                raise InvalidFieldError.of(path, problem)
        if not field.inner:
            continue
        if field.is_repeated:
            for index, item in enumerate(value):
                room = _check_lists(item, field.inner, f"{path}[{index}].", room)
        elif message.HasField(field.name):
            room = _check_lists(value, field.inner, f"{path}.", room)
    return room


@cache
def _lists(descriptor: Descriptor) -> tuple[_List, ...]:
    lists = []
    for field in descriptor.fields:
        is_ours = field.message_type is not None and field.message_type.file.package == descriptor.file.package
        inner = _lists(field.message_type) if is_ours else ()
        limit = _max_items(field) if field.is_repeated else None
        if inner or limit is not None:
            lists.append(_List(field.name, field.is_repeated, limit, field.message_type is not None, inner))
    return tuple(lists)


def _max_items(field: FieldDescriptor) -> int | None:
    """Return the field's max_items rule, read from the bytes of its options: the stubs do not include protovalidate."""
    options: Any = UnknownFieldSet(field.GetOptions())
    for option in options:
        if option.field_number == RULES:
            for number, rules in fields_of(option.data):
                if number == REPEATED and isinstance(rules, bytes):
                    return next((value for key, value in fields_of(rules) if key == MAX_ITEMS), None)  # type: ignore[return-value]
    return None


def _reject_repeated_oneofs(data: bytes, descriptor: Any, prefix: str, numbers: Iterator[int]) -> None:
    first_members: dict[str, Any] = {}
    indexes: dict[int, int] = {}
    for number, payload in fields_of(data):
        if next(numbers) > MAX_FIELDS:
            raise UndecodableRequestError(
                f"the request repeats or pads fields and has more than {MAX_FIELDS}; send it in canonical encoding"
            )
        field = descriptor.fields_by_number.get(number)
        if field is None:
            continue
        index = indexes[number] = indexes.get(number, -1) + 1
        oneof = field.containing_oneof
        if oneof is not None and not oneof.name.startswith("_"):
            first = first_members.setdefault(oneof.name, field)
            if first is not field:
                problem = f"only one of {first.name} and {field.name} may be set"
                raise InvalidFieldError.of(f"{prefix}{oneof.name}", problem)
        inner = field.message_type
        if inner is not None and isinstance(payload, bytes) and not inner.GetOptions().map_entry:
            name = f"{field.name}[{index}]" if field.is_repeated else field.name
            _reject_repeated_oneofs(payload, inner, f"{prefix}{name}.", numbers)


def fields_of(data: bytes) -> Iterator[tuple[int, bytes | int | None]]:
    """Yield the field numbers of a message with their payloads: bytes, an integer, or None for fixed-size fields.

    The message must be known to parse.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire_type = tag & 7
        if wire_type == _BYTES:
            length, at = _varint(data, at)
            yield tag >> 3, data[at : at + length]
            at += length
        elif wire_type == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif wire_type in (_FIXED64, _FIXED32):
            at += 8 if wire_type == _FIXED64 else 4
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
