"""The rules of the contract (protovalidate's, in protos/), and how what breaks them is told."""

from __future__ import annotations

from typing import Any

import protovalidate
from google.protobuf.message import Message

from ..domain.errors import InvalidFieldError
from .lists import refuse_long_lists

NO_CONTROL_CHARACTERS = r"^\P{Cc}*$"  # the pattern of ids in the contract


def check(request: Message) -> None:
    """InvalidFieldError unless the request keeps the rules of the contract."""
    refuse_long_lists(request)
    violations = protovalidate.collect_violations(request)
    if violations:
        fields = [(_path(violation.proto.field), _problem(violation, request)) for violation in violations]
        raise InvalidFieldError("; ".join(f"{field}: {problem}" for field, problem in fields), fields=fields)


def _problem(violation: protovalidate.Violation, request: Message) -> str:
    if violation.rule_value == NO_CONTROL_CHARACTERS:
        return "must hold no control characters"
    descriptor: Any = request.DESCRIPTOR
    path: Any = violation.proto.field
    *above, last = path.elements
    for element in above:
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
