"""Saving and discarding drafts. Commits are in commits.py, lists in lists/.

Invariant: `merged` is always the edit applied to the content of the record. A transaction
that writes a record locks it, and refreshes the drafts over it before it releases the lock;
one that saves a draft locks its record FOR SHARE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import asyncpg
import msgspec

from ..domain.content import Limits
from ..domain.drafts import (
    MAX_SELECTED,
    ChangeByDelta,
    ChangeByOperations,
    Conflict,
    ConflictKind,
    Creation,
    DraftEdit,
    DraftKind,
    MergedRecord,
    SaveResult,
    Selection,
)
from ..domain.errors import DraftlineError, DraftNotFoundError, SelectionTooLargeError
from ..domain.records import Actor
from .driver_errors import RacedError
from .in_place_patches import step_json
from .record_errors import draft_version_mismatch, error_of
from .record_rows import limit_values, record_in
from .statements import load
from .transaction import Rows, Transaction

SQL = load("drafts")
T = TypeVar("T")

_KINDS = {kind.value: kind for kind in DraftKind}

_encode = msgspec.json.Encoder(decimal_format="number").encode
_conflicts = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


class DraftStore:
    """The drafts of each user."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def save(
        self,
        transaction: Transaction,
        actor: Actor,
        collection: str,
        edits: Sequence[DraftEdit],
        *,
        session_id: str,
        change_reason: str,
        omit_content: bool,
        move_to_session: bool = False,
        again: bool = False,
    ) -> list[SaveResult]:
        """Save the edits, and return a result for each. Edits with an error are skipped.

        Raises RacedError if another call created one of the drafts meanwhile. The statement that expects no conflict
        takes less time, so only later attempts, which are made `again`, use the other one.
        """
        now = await transaction.now()
        values: dict[str, object] = {
            **identity(actor, collection),
            "now": now,
            "session_id": session_id,
            "move_to_session": move_to_session,
            "change_reason": change_reason,
            "omit_content": omit_content,
            **_arrays(edits),
            **limit_values(self._limits),
        }
        try:
            rows = await transaction.fetch(SQL["save_drafts_again" if again else "save_drafts"], values)
        except asyncpg.UniqueViolationError:
            if again:
                raise
            raise RacedError from None
        results: list[SaveResult] = [SaveResult()] * len(edits)
        for row in rows:
            index = row["index"] - 1
            if row["failure"] is not None:
                results[index] = SaveResult(error=_error(row["failure"], collection, edits[index]))
            elif not row["vanishes"]:
                results[index] = SaveResult(
                    merged_of(row, actor, collection, saved_at=now, session_id=session_id, change_reason=change_reason)
                )
        return results

    async def discard(
        self, transaction: Transaction, actor: Actor, collection: str, selection: Selection, *, with_content: bool
    ) -> list[MergedRecord]:
        """Drop the selected drafts and return their last state.

        Raises DraftNotFoundError or DraftVersionMismatchError unless every draft that was named is as expected, and
        RacedError if other calls changed the selection meanwhile.
        """
        versions = await selected(transaction, actor, collection, selection)
        values = {
            **identity(actor, collection),
            "record_ids": list(versions),
            "session_id": selection.session_id,
            "with_content": with_content,
            "now": await transaction.now(),
        }
        rows = await transaction.fetch(SQL["drop_drafts"], values)
        if any(row["is_unlocked"] and row["draft_version"] != versions[row["record_id"]] for row in rows):
            raise RacedError  # the record was created meanwhile, and the draft was saved over it
        await check_selection(transaction, actor, collection, selection, {})
        check_versions(selection, {row["record_id"]: row["draft_version"] for row in rows})
        return [
            merged_of(
                row,
                actor,
                collection,
                saved_at=row["draft_updated_at"],
                session_id=row["session_id"],
                change_reason=row["change_reason"],
            )
            for row in rows
        ]


def identity(actor: Actor, collection: str) -> dict[str, object]:
    return {"tenant_id": actor.tenant_id, "user_id": actor.user_id, "collection": collection}


async def selected(transaction: Transaction, actor: Actor, collection: str, selection: Selection) -> dict[str, int]:
    """Return the versions of the selected drafts by record id, in primary-key order.

    Raises SelectionTooLargeError if there are more than MAX_SELECTED.
    """
    values = {**identity(actor, collection), **selection_values(selection)}
    return versions_of(await transaction.fetch(SQL["select_drafts"], values))


def selection_values(selection: Selection) -> dict[str, object]:
    """Return the values of statements that select drafts."""
    wanted = selection.expected_versions
    return {
        "record_ids": None if wanted is None else list(wanted),
        "session_id": selection.session_id,
        "limit": MAX_SELECTED + 1,
    }


def versions_of(rows: Rows) -> dict[str, int]:
    """Return the versions of selected drafts by record id. Raises SelectionTooLargeError if there are too many."""
    if len(rows) > MAX_SELECTED:
        raise SelectionTooLargeError(
            f"the selection has more than {MAX_SELECTED} drafts; select them in parts, by record", limit=MAX_SELECTED
        )
    return {row["record_id"]: row["version"] for row in rows}


async def check_selection(
    transaction: Transaction, actor: Actor, collection: str, selection: Selection, expected: Mapping[str, int]
) -> None:
    """Raise RacedError unless the selected drafts are those expected, at these versions.

    A statement that waits for a lock does not see drafts that were saved, moved or created while it waited. The
    selection is therefore read again once all locks are held. If it differs, the call starts again, so that it never
    takes only a part of what another call saved together.
    """
    if await selected(transaction, actor, collection, selection) != expected:
        raise RacedError


def check_versions(selection: Selection, versions: dict[str, int]) -> None:
    """Raise DraftNotFoundError or DraftVersionMismatchError unless every draft that was named is as expected."""
    for record_id, expected in (selection.expected_versions or {}).items():
        if record_id not in versions:
            raise DraftNotFoundError(f"you have no draft of record {record_id!r}", record_id=record_id)
        if expected is not None and expected != versions[record_id]:
            raise draft_version_mismatch(record_id, versions[record_id])


def merged_of(
    row: asyncpg.Record, actor: Actor, collection: str, *, saved_at: datetime, session_id: str, change_reason: str
) -> MergedRecord:
    """Build a merged record from the columns that statements of drafts.sql share, and the last save of its draft."""
    return MergedRecord(
        record_in(collection, row),
        _KINDS[row["draft_kind"]],
        row["draft_version"],
        sorted(row["modified_fields"]),
        actor.user_id,
        saved_at,
        session_id,
        change_reason,
        conflicts_of(collection, row["record_id"], row["version"], row["conflicts"]),
        row["modified_attributes"],
    )


def conflicts_of(collection: str, record_id: str, version: int, text: str) -> list[Conflict]:
    """Parse conflicts from the JSON that `draftline.conflicts` makes; values stay JSON text."""
    if text == "[]":
        return []
    return [
        Conflict(
            collection,
            record_id,
            ConflictKind(msgspec.json.decode(entry["kind"])),
            msgspec.json.decode(entry["path"]),
            base=_text(entry, "base"),
            mine=_text(entry, "mine"),
            theirs=_text(entry, "theirs"),
            version=version,
        )
        for entry in _conflicts(text)
    ]


def _text(entry: Mapping[str, msgspec.Raw], name: str) -> str | None:
    return bytes(entry[name]).decode() if name in entry else None


def _arrays(edits: Sequence[DraftEdit]) -> dict[str, object]:
    actions = [_action(edit) for edit in edits]
    return {
        "record_ids": [edit.record_id for edit in edits],
        "actions": sparse([name for name, _ in actions], "CHANGE"),
        "edits": [text for _, text in actions],
        "expected_draft_versions": sparse([edit.expected_draft_version for edit in edits], None),
        "base_versions": sparse([edit.base_version for edit in edits], None),
        "replaces": sparse([edit.replace for edit in edits], False),
        "attribute_sets": sparse(
            [_encode(edit.attributes).decode() if edit.attributes else None for edit in edits], None
        ),
        "allow_deleteds": sparse([edit.allow_deleted for edit in edits], False),
    }


def sparse(column: list[T], default: T) -> list[T]:
    """Return a column of parallel arrays, which is empty if it has only the value that statements assume then."""
    return [] if column.count(default) == len(column) else column


def _action(edit: DraftEdit) -> tuple[str, str | None]:
    match edit.action:
        case ChangeByDelta(node):
            return "CHANGE", _encode(node).decode()
        case ChangeByOperations(steps):
            return "OPERATIONS", _encode([step_json(step) for step in steps]).decode()
        case Creation(text):
            return "CREATE", text
    return "DELETE", None


def _error(failure: str, collection: str, edit: DraftEdit) -> DraftlineError:
    where = {"OPERATIONS": "operations", "CREATE": "create"}.get(_action(edit)[0], "delta")
    return error_of(failure, collection, edit.record_id, where)
