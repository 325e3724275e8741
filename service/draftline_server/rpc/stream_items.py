"""The writes in the messages of StreamPatches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from draftline.v1 import content_pb2
from google.protobuf.message import DecodeError

from ..domain.errors import InvalidFieldError, UndecodableRequestError
from .validation import fields_of, parser

Item = content_pb2.StreamPatchesItem

# A write of a stream is the same request as a call of this method, which has this response.
UNARY: Mapping[str, tuple[str, Any]] = {
    "patch": ("draftline.v1.ContentService.PatchContent", content_pb2.PatchContentResponse),
    "create": ("draftline.v1.ContentService.CreateContent", content_pb2.CreateContentResponse),
    "delete": ("draftline.v1.ContentService.DeleteContent", content_pb2.DeleteContentResponse),
}
ITEMS, MAX_ITEMS = content_pb2.StreamPatchesRequest.ITEMS_FIELD_NUMBER, 1_000  # in one message, by the contract

parse_item = parser(Item)


def write_of(item: Any) -> Any:
    """Return the write of an item; an empty one if none is set."""
    return getattr(item, item.WhichOneof("write") or "patch")


def items_of(data: Any) -> Sequence[Any]:
    """Return the writes of a message: parsed, or as bytes if some of them may be malformed.

    Raises UndecodableRequestError or InvalidFieldError if the message as a whole is wrong.
    """
    try:
        message = content_pb2.StreamPatchesRequest.FromString(data)
    except DecodeError:
        name = content_pb2.StreamPatchesRequest.DESCRIPTOR.full_name
        raise UndecodableRequestError(f"the request is not a valid {name}") from None
    if not 1 <= len(message.items) <= MAX_ITEMS:
        raise InvalidFieldError.of("items", f"must contain 1 to {MAX_ITEMS} writes in each message")
    if message.ByteSize() == len(data):  # canonical encoding, which no caller's mistake breaks
        return message.items
    return [payload for number, payload in fields_of(data) if number == ITEMS]


def is_plain_patch(item: Any, tenant_id: str) -> bool:
    """Return whether an item is a patch of the tenant that only changes an existing record, without a condition."""
    if item.WhichOneof("write") != "patch":
        return False
    patch = item.patch
    has_more = patch.condition or patch.allow_missing or patch.validate_only
    return not has_more and patch.tenant_id == tenant_id and bool(patch.record_id)
