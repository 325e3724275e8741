"""Rows of records as values, and the limits of contents as the parameters of statements.

The driver takes as long to convert the two times of a record as all its other columns. Statements that return many
records therefore return these in PostgreSQL's binary form.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import asyncpg

from ..domain.content import Limits
from ..domain.records import Record
from .record_errors import deleted, not_found

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def limit_values(limits: Limits) -> dict[str, object]:
    return {
        "max_bytes": limits.max_bytes,
        "max_depth": limits.max_depth,
        "max_nodes": limits.max_nodes,
        "max_indexed_text_bytes": limits.max_indexed_text_bytes,
    }


def record_of(row: asyncpg.Record) -> Record:
    return Record(
        row["collection"],
        row["record_id"],
        row["content"],
        row["version"],
        row["parent_id"],
        row["position"],
        row["created_at"],
        row["created_by"],
        row["updated_at"],
        row["updated_by"],
        row["deleted_at"],
    )


def record_in(collection: str, row: asyncpg.Record) -> Record:
    """Return the record of a row of one collection, whose times are in binary form; the content may be NULL."""
    return Record(
        collection,
        row["record_id"],
        row["content"] or "",
        row["version"],
        row["parent_id"],
        row["position"],
        time_of(row["created_at"]),
        row["created_by"],
        time_of(row["updated_at"]),
        row["updated_by"],
        row["deleted_at"],
    )


def shown(record: Record | None, collection: str, record_id: str, *, show_deleted: bool) -> Record:
    """Return the record that was found.

    Raises RecordNotFoundError if it is None, and RecordDeletedError if it is deleted, unless `show_deleted`.
    """
    if record is None:
        raise not_found(collection, record_id)
    if record.deleted_at is not None and not show_deleted:
        raise deleted(record_id)
    return record


@lru_cache(maxsize=4096)  # the records of one write share their times
def time_of(binary: bytes) -> datetime:
    """Return the time of PostgreSQL's binary form: microseconds since 2000."""
    return _EPOCH + timedelta(microseconds=int.from_bytes(binary, "big", signed=True))
