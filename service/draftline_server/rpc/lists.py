"""Rejection of lists that are too long, before their elements are validated.

protovalidate checks every element of a list before it reports that there are too many; for
half a million elements that takes half a minute. Nested lists are counted together, because
a thousand edits of a thousand operations each are just as expensive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from ..domain.errors import InvalidFieldError
from .wire import fields_of

# The field numbers of the rules in a field's options: FieldOptions.(buf.validate.field), FieldRules.repeated,
# RepeatedRules.max_items (buf/validate/validate.proto).
RULES, REPEATED, MAX_ITEMS = 1159, 18, 2

MAX_MESSAGES = 50_000  # in all lists of a request together


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
    _check(message, _lists(message.DESCRIPTOR), "", MAX_MESSAGES)


def _check(message: Any, lists: tuple[_List, ...], where: str, room: int) -> int:
    """Check the lists and return how many more messages are allowed."""
    for each in lists:
        value = getattr(message, each.name)
        if each.is_repeated and each.max_items is not None and len(value) > each.max_items:
            raise InvalidFieldError.of(f"{where}{each.name}", f"must contain no more than {each.max_items} item(s)")
        if each.is_repeated and each.holds_messages:
            room -= len(value)
            if room < 0:
                problem = f"must not bring the lists of the request to more than {MAX_MESSAGES} items together"
                raise InvalidFieldError.of(f"{where}{each.name}", problem)
        if not each.inner:
            continue
        if each.is_repeated:
            for place, item in enumerate(value):
                room = _check(item, each.inner, f"{where}{each.name}[{place}].", room)
        elif message.HasField(each.name):
            room = _check(value, each.inner, f"{where}{each.name}.", room)
    return room


@cache
def _lists(descriptor: Descriptor) -> tuple[_List, ...]:
    found = []
    for field in descriptor.fields:
        ours = field.message_type is not None and field.message_type.file.package == descriptor.file.package
        inner = _lists(field.message_type) if ours else ()
        limit = _max_items(field) if field.is_repeated else None
        if inner or limit is not None:
            found.append(_List(field.name, field.is_repeated, limit, field.message_type is not None, inner))
    return tuple(found)


def _max_items(field: FieldDescriptor) -> int | None:
    """Return the field's max_items rule, read from the bytes of its options: the stubs do not include protovalidate."""
    options: Any = UnknownFieldSet(field.GetOptions())
    for option in options:
        if option.field_number == RULES:
            for number, rules in fields_of(option.data):
                if number == REPEATED and isinstance(rules, bytes):
                    return next((value for key, value in fields_of(rules) if key == MAX_ITEMS), None)  # type: ignore[return-value]
    return None
