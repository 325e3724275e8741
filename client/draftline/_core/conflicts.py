"""Conversion of the conflicts in responses and errors to models."""

from __future__ import annotations

from typing import Any

from draftline.documents import json_value_of
from draftline.models import UNSET, Conflict, ConflictKind, Resolution, Shortened
from draftline.models.str_enum import member_of
from draftline.v1 import draft_pb2, types_pb2


def conflict_of(message: draft_pb2.Conflict, collected: list[Resolution] | None = None) -> Conflict:
    return Conflict(
        record_id=message.record_id,
        kind=member_of(ConflictKind, draft_pb2.ConflictKind, message.kind),
        path=message.path,
        base=_value_of(message.base) if message.HasField("base") else UNSET,
        mine=_value_of(message.mine) if message.HasField("mine") else UNSET,
        theirs=_value_of(message.theirs) if message.HasField("theirs") else UNSET,
        collection=message.collection,
        version=message.version,
        _collected=collected,
    )


def _value_of(message: types_pb2.JsonValue) -> Any:
    try:
        return json_value_of(message)
    except ValueError:  # truncated: an open string or bracket, or a number that ends in "…"
        return Shortened(message.json)
