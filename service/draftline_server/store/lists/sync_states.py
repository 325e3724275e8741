"""The states of records at their system of record, as columns of lists of bound collections."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import ColumnElement, Subquery, Text, case, cast, exists, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import JSONB

from ...domain.sync import SyncState
from ...domain.sync_records import SyncRecord
from ..statements import fragment
from ..sync.states import conflicts_of, error_of
from ..tables.sync import sync_record
from .branches import ListQueryKey, collection_of_list, tenant_of_list

NOT_SYNCED = ("DUE", "SENDING", "HELD", "FAILED")  # the stored states but IDLE
SHOWN_COLUMNS = 7
STATE, STORED = "s", "r"  # the names that the fragments of sync_records.sql give to the state and to the record
_ONE: ColumnElement[int] = literal_column("1")


def known_state(shape: ListQueryKey, record_id: ColumnElement[Any]) -> Any:
    """Join what is known of a record at its system of record, if any record of the collection is pending or refused.

    Otherwise there is nothing to show, and no record is looked up. The LIMIT makes this one look-up for each row.
    """
    s = sync_record.alias("pending").c
    of_list = [s.tenant_id == tenant_of_list(), s.collection == collection_of_list(shape)]
    not_synced = select(_ONE).where(*of_list, s.state.in_([_text(state) for state in NOT_SYNCED]))
    waiting = select(_ONE).where(*of_list, s.next_at >= literal_column("CAST('-infinity' AS timestamptz)"))
    is_needed = select(or_(exists(not_synced), exists(waiting))).scalar_subquery()
    known = sync_record.alias("known")
    k = known.c
    columns = (
        k.state, k.conflicts, k.error, k.tries, k.next_at, k.due_since, k.in_doubt, k.recheck, k.seen_version
    )  # fmt: skip
    keys = [k.tenant_id == tenant_of_list(), k.collection == collection_of_list(shape), k.record_id == record_id]
    return select(*columns).where(is_needed, *keys).limit(_ONE).lateral(STATE)


def stored_record(page: Subquery) -> Any:
    """Return the record of a row as it is stored, without the draft over it, for `shown_state`."""

    def column(name: str) -> ColumnElement[Any]:
        return literal_column(f"{page.name}.{page.c[name].name}")  # a select of columns of `page` would repeat it

    has_draft = column("draft_kind").is_not(None)
    content = case((has_draft, column("baseline")), else_=column("content"))
    deleted_at = case((has_draft, column("baseline_deleted_at")), else_=column("deleted_at"))
    columns = (column("record_id"), column("version"), content.label("content"), deleted_at.label("deleted_at"))
    return select(*columns).lateral(STORED)


def shown_state(row: Any, state: Any) -> list[ColumnElement[Any]]:
    """Return the columns that `sync_of` reads, as many as SHOWN_COLUMNS.

    `sync_state` is the same as the fragment `shown` of sync_records.sql. `row`: a record with its acknowledged version;
    `state`: what is known of it. The statement also reads from `stored_record`.
    """
    conflicts: ColumnElement[Any] = literal_column(f"({fragment('sync_records', 'current_conflicts')})", JSONB)
    shown = case(
        (row.acked_version.is_(None), None),
        (state.state.in_([_text("FAILED"), _text("HELD")]), _text(SyncState.SYNC_ERROR)),
        (state.state == _text("SENDING"), _text(SyncState.SYNCING)),
        (or_(state.state == _text("DUE"), row.version > row.acked_version), _text(SyncState.COMMITTED)),
        (func.starts_with(row.updated_by, _text("sync:")), _text(SyncState.PRISTINE)),
        else_=_text(SyncState.SYNCED),
    )
    return [
        shown.label("sync_state"),
        cast(state.error, Text()).label("sync_error"),
        cast(func.nullif(conflicts, literal_column("CAST('[]' AS jsonb)")), Text()).label("sync_conflicts"),
        state.tries.label("sync_tries"),
        state.next_at.label("sync_next_at"),
        state.due_since.label("sync_due_since"),
        state.in_doubt.label("sync_in_doubt"),
    ]


def sync_of(row: asyncpg.Record, collection: str) -> SyncRecord | None:
    """Return the state of a row of a list, whose last columns it is; None if the record exists only as a draft."""
    state, error, conflicts, tries, next_at, due_since, in_doubt = row[-SHOWN_COLUMNS:]
    if state is None:
        return None
    if not tries and due_since is None and next_at is None and error is None and conflicts is None:
        return _plain(collection, state, row["acked_version"])
    reason, message, field = error_of(error, conflicts)
    return SyncRecord(
        collection, row["record_id"], SyncState(state), row["version"], row["acked_version"], "", "", reason, message,
        field, conflicts_of(conflicts), tries or 0, next_at, due_since, bool(in_doubt),
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _plain(collection: str, state: str, acked_version: int) -> SyncRecord:
    """Return the state of all records with nothing else to show; it names none of them."""
    return SyncRecord(
        collection, "", SyncState(state), acked_version, acked_version, "", "", "", "", "", (), 0, None, None, False
    )


def _text(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value}'")
