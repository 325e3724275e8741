"""Validation of requests by the protovalidate rules in protos/, with readable error messages."""

from __future__ import annotations

from typing import Any

import protovalidate
from google.protobuf.message import Message

from ..domain.errors import InvalidFieldError
from .lists import reject_oversized_lists

# Regular expressions in the contract, and the error messages for them.
MEANINGS = {r"^\P{Cc}*$": "must hold no control characters", "^/": "must start with / (a JSON Pointer, RFC 6901)"}


def check(request: Message) -> None:
    """Raise InvalidFieldError if the request violates the rules of the contract."""
    reject_oversized_lists(request)
    violations = protovalidate.collect_violations(request)
    if violations:
        fields = [(_path(violation.proto.field), _problem(violation, request)) for violation in violations]
        raise InvalidFieldError("; ".join(f"{field}: {problem}" for field, problem in fields), fields=fields)


def _problem(violation: protovalidate.Violation, request: Message) -> str:
    meaning = MEANINGS.get(violation.rule_value) if isinstance(violation.rule_value, str) else None
    if meaning is not None:
        return meaning
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
