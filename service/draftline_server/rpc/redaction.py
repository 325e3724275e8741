"""Redaction: removal of content from responses to callers without read permission.

A caller with only `content:write` or `draft:write` may write and gets the outcome of the write, but not the content of
records. Content is found by the message types that carry it, independent of the rpc and its flags, so none is missed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from draftline.v1 import draft_pb2, types_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from ..domain.errors import ConflictError, DraftlineError, SchemaViolationError

CONTENT = {types_pb2.Document.DESCRIPTOR.full_name, types_pb2.JsonValue.DESCRIPTOR.full_name}


async def redacted(awaited: Awaitable[Message]) -> Message:
    """Return the response or raise the error, in both cases without content."""
    try:
        response = await awaited
    except DraftlineError as error:
        raise redacted_error(error) from None
    redact_content(response)
    return response


def redact_content(message: Any) -> None:
    """Remove all documents and values from a response, in place."""
    if isinstance(message, types_pb2.Status):
        _redact_status(message)
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.full_name in CONTENT:
            message.ClearField(field.name)
            continue
        for part in [value] if isinstance(value, Message) else value:
            redact_content(part)


def redacted_error(error: DraftlineError) -> DraftlineError:
    """Return the error without values of records."""
    if isinstance(error, ConflictError):
        return error.without_values()
    if isinstance(error, SchemaViolationError):
        return SchemaViolationError(_violation(error.metadata), path=error.metadata.get("path"))
    return error


def _redact_status(status: types_pb2.Status) -> None:
    """Remove values of records from the status of one item of a batch."""
    info, conflict = error_details_pb2.ErrorInfo(), draft_pb2.Conflict()
    for detail in status.details:
        if detail.Unpack(info) and info.reason == SchemaViolationError.reason:
            status.message = _violation(info.metadata)
            del status.details[1:]
            return
        if detail.Unpack(conflict):
            redact_content(conflict)
            detail.Pack(conflict)


def _violation(metadata: Mapping[str, str]) -> str:
    """Return the message of a JSON Schema violation without the violating value."""
    return f"the content violates the collection's JSON Schema at {metadata.get('path', '')!r}"
