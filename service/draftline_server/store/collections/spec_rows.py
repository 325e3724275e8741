"""Specs as the database stores them, and their sizes in responses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

import msgspec

from ...domain.collections import CollectionSpec
from ...domain.edits import format_pointer
from . import relation_specs
from .statistic_specs import to_json

MAX_PAGE_BYTES = 2 * 1024 * 1024  # of a page; clients accept 4 MiB a message by default


class Written(msgspec.Struct):
    """The attributes that storing a spec sets."""

    version: int
    created_at: datetime
    updated_at: datetime


decode_written = msgspec.json.Decoder(Written).decode


def written_json(stored: CollectionSpec) -> str:
    values = {"version": stored.version, "created_at": stored.created_at, "updated_at": stored.updated_at}
    return msgspec.json.encode(values).decode()


def count_fitting(specs: Sequence[CollectionSpec]) -> int:
    """Return how many of the specs fit on one page; at least one."""
    size = 0
    for index, spec in enumerate(specs):
        size += _size(spec)
        if index and size > MAX_PAGE_BYTES:
            return index
    return len(specs)


def _size(spec: CollectionSpec) -> int:
    """Return about how many bytes a spec takes in a response, where fields and orders appear twice."""
    paths = [*spec.fields, *(key.path for order in spec.orders for key in order)]
    texts = [spec.json_schema, *(format_pointer(path) * 2 for path in paths)]
    return 200 + sum(len(text.encode()) + 20 for text in texts)


def as_json(spec: CollectionSpec) -> dict[str, object]:
    fields = [
        {"path": path, "type": type_, **({"on_type_mismatch": "REFUSE"} if path in spec.refusing else {})}
        for path, type_ in spec.fields.items()
    ]
    orders = [[{"path": key.path, "descending": key.descending} for key in order] for order in spec.orders]
    return {
        "fields": json.dumps(fields),
        "orders": json.dumps(orders),
        "indexed_text": json.dumps(_checked(spec)),
        "statistics": json.dumps([to_json(each) for each in spec.statistics]),
        "relations": json.dumps([relation_specs.to_json(each) for each in spec.relations]),
    }


def _checked(spec: CollectionSpec) -> list[object]:
    """Return the fields that `draftline.field_failure` checks in written content; those that refuse come first."""
    refusing: list[object] = [
        {"path": path, "type": type_} for path, type_ in spec.fields.items() if path in spec.refusing
    ]
    return [*refusing, *(path for path in spec.indexed_text() if path not in spec.refusing)]
