"""The sync states of records, for lists and status calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from ...domain.edits import format_pointer
from ...domain.sync import SyncState
from ...domain.sync_records import CollectionCounts, CommitCounts, SyncConflict, SyncEvent, SyncRecord
from ..database import Database
from ..statements import load

SQL = load("sync_records")
MAX_UNREAD = 10_000  # changes that no worker has read, of all collections, whose records a status call counts
STATES: Mapping[SyncState, Sequence[str]] = {
    SyncState.COMMITTED: ["DUE"],
    SyncState.SYNCING: ["SENDING"],
    SyncState.SYNC_ERROR: ["FAILED", "HELD"],
    SyncState.SYNCED: [],
    SyncState.PRISTINE: [],
}


class SyncStates:
    """Reads the sync states of records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, tenant_id: str, collection: str, state: SyncState | None, after: str, limit: int
    ) -> Sequence[SyncRecord]:
        """Return the records of a collection that are not synced, by record id."""
        values: dict[str, object] = {
            "tenant_id": tenant_id, "collection": collection, "after": after, "limit": limit,
            "states": None if state is None else list(STATES[state]),
        }  # fmt: skip
        return [
            _record(collection, row) for row in await self._database.fetch(SQL["list_records"], values, idempotent=True)
        ]

    async def of_commit(self, tenant_id: str, commit_id: str) -> CommitCounts:
        """Count the records of bound collections that a commit wrote. One is synced if its change has arrived."""
        values: dict[str, object] = {"tenant_id": tenant_id, "commit_id": commit_id}
        return CommitCounts(*(await self._database.fetch(SQL["count_commit"], values, idempotent=True))[0])

    async def counts(self, tenant_id: str, upstream: str) -> Sequence[CollectionCounts]:
        """Count the records of each collection of a sync that are not synced. Those that changed wait from then on."""
        values: dict[str, object] = {"tenant_id": tenant_id, "upstream": upstream, "limit": MAX_UNREAD}
        rows = await self._database.fetch(SQL["count_states"], values, idempotent=True)
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            unread = [row["unread_since"]] if row["unread"] else []
            each = found.setdefault(
                row["collection"], {"in_doubt": 0, "oldest": unread, "unread": row["unread"] or 0, "row": row}
            )
            if row["state"] is not None:
                each[row["state"]] = row["count"]
                each["in_doubt"] += row["in_doubt"]
                each["oldest"] += [row["oldest"]] if row["oldest"] is not None else []
        return [
            CollectionCounts(
                name, each.get("DUE", 0) + each["unread"], each.get("SENDING", 0), each.get("FAILED", 0),
                each.get("HELD", 0), each["in_doubt"], min(each["oldest"], default=None), each["row"]["pulled_at"],
                each["row"]["snapshot_at"],
            )
            for name, each in found.items()
        ]  # fmt: skip

    async def events(
        self, tenant_id: str, upstream: str, *, collection: str, record_id: str, before: int, limit: int
    ) -> Sequence[SyncEvent]:
        """Return the events of a sync before one, newest first."""
        values: dict[str, object] = {
            "tenant_id": tenant_id, "upstream": upstream, "collection": collection, "record_id": record_id,
            "before": before, "limit": limit,
        }  # fmt: skip
        return [
            SyncEvent(
                row["event_id"], row["collection"] or "", row["record_id"] or "", row["kind"], row["reason"] or "",
                row["message"] or "", conflicts_of(row["detail"]), row["created_at"],
            )
            for row in await self._database.fetch(SQL["list_events"], values, idempotent=True)
        ]  # fmt: skip


def _record(collection: str, row: asyncpg.Record) -> SyncRecord:
    reason, message, field = error_of(row["error"], row["conflicts"])
    return SyncRecord(
        collection,
        row["record_id"],
        SyncState(row["shown"]),
        row["version"] or 0,
        row["acked_version"],
        row["remote_id"] or "",
        row["remote_version"] or "",
        reason,
        message,
        field,
        conflicts_of(row["conflicts"]),
        row["tries"],
        row["next_at"],
        row["due_since"],
        row["in_doubt"],
    )


def error_of(error: str | None, conflicts: str | None) -> tuple[str, str, str]:
    """Return the reason, the message and the field of a SYNC_ERROR, from the stored error and conflicts."""
    if error is None:
        return "CONFLICT" if conflicts not in (None, "[]") else "", "", ""
    stored: Mapping[str, Any] = json.loads(error)
    reason = str(stored.get("reason") or ("CONFLICT" if conflicts not in (None, "[]") else ""))
    return reason, str(stored.get("message") or ""), _field(stored.get("field"))


def _field(field: Any) -> str:
    return format_pointer(field) if isinstance(field, list) else str(field or "")


def conflicts_of(text: str | None) -> Sequence[SyncConflict]:
    """Return stored conflicts."""
    if text in (None, "[]"):
        return ()
    found = json.loads(text or "[]", parse_float=_Number, parse_int=_Number)
    if not isinstance(found, list):
        return ()
    return [
        SyncConflict(
            each["kind"],
            each["path"],
            *(_text(each[side]) if side in each else None for side in ("base", "mine", "theirs")),
        )
        for each in found
    ]


class _Number(str):
    """The text of a number, so that no digit is lost."""


def _text(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_text(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return json.dumps(value)
