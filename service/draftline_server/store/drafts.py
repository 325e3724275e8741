"""Saving and discarding drafts. Commits are in commits.py, lists in lists/.

Invariant: `merged` is always the edit applied to the content of the record. A transaction
that writes a record locks it, and refreshes the drafts over it before it releases the lock;
one that saves a draft locks its record FOR SHARE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from ..domain.errors import DraftNotFoundError, SelectionTooLargeError
from ..domain.records import Actor, Record
from .driver_errors import RacedError
from .in_place_patches import step_json
from .record_errors import draft_version_mismatch, error_of
from .record_rows import limit_values
from .statements import load
from .transaction import Transaction

SQL = load("drafts")

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
    ) -> list[SaveResult]:
        """Save the edits, and return a result for each. Edits with an error are skipped."""
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id,
            "user_id": actor.user_id,
            "collection": collection,
            "now": await transaction.now(),
            "session_id": session_id,
            "move_to_session": move_to_session,
            "change_reason": change_reason,
            "omit_content": omit_content,
            **_arrays(edits),
            **limit_values(self._limits),
        }
        rows = await transaction.fetch(SQL["save_drafts"], values)
        results = {row["index"]: _saved(row, actor, collection, edits[row["index"] - 1]) for row in rows}
        return [results[index] for index in range(1, len(edits) + 1)]

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
        return [merged_of(row, actor, collection) for row in rows]


def identity(actor: Actor, collection: str) -> dict[str, object]:
    return {"tenant_id": actor.tenant_id, "user_id": actor.user_id, "collection": collection}


async def selected(transaction: Transaction, actor: Actor, collection: str, selection: Selection) -> dict[str, int]:
    """Return the versions of the selected drafts by record id, in primary-key order.

    Raises SelectionTooLargeError if there are more than MAX_SELECTED.
    """
    wanted = selection.expected_versions
    values: dict[str, object] = {
        **identity(actor, collection),
        "record_ids": None if wanted is None else list(wanted),
        "session_id": selection.session_id,
        "limit": MAX_SELECTED + 1,
    }
    rows = await transaction.fetch(SQL["select_drafts"], values)
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


def merged_of(row: asyncpg.Record, actor: Actor, collection: str) -> MergedRecord:
    """Build a merged record from the columns that the statements of drafts.sql share."""
    return MergedRecord(
        Record(
            collection,
            row["record_id"],
            row["content"] or "",
            row["version"],
            row["parent_id"],
            row["position"],
            row["created_at"],
            row["created_by"],
            row["updated_at"],
            row["updated_by"],
            row["deleted_at"],
        ),
        DraftKind(row["draft_kind"]),
        row["draft_version"],
        sorted(row["modified_fields"]),
        actor.user_id,
        row["draft_updated_at"],
        row["session_id"],
        row["change_reason"],
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
        "actions": [name for name, _ in actions],
        "edits": [text for _, text in actions],
        "expected_draft_versions": [edit.expected_draft_version for edit in edits],
        "base_versions": [edit.base_version for edit in edits],
        "replaces": [edit.replace for edit in edits],
        "attribute_sets": [_encode(edit.attributes).decode() if edit.attributes else None for edit in edits],
        "allow_deleteds": [edit.allow_deleted for edit in edits],
    }


def _action(edit: DraftEdit) -> tuple[str, str | None]:
    match edit.action:
        case ChangeByDelta(node):
            return "CHANGE", _encode(node).decode()
        case ChangeByOperations(steps):
            return "OPERATIONS", _encode([step_json(step) for step in steps]).decode()
        case Creation(text):
            return "CREATE", text
    return "DELETE", None


def _saved(row: asyncpg.Record, actor: Actor, collection: str, edit: DraftEdit) -> SaveResult:
    if row["failure"] is not None:
        where = {"OPERATIONS": "operations", "CREATE": "create"}.get(_action(edit)[0], "delta")
        return SaveResult(error=error_of(row["failure"], collection, edit.record_id, where))
    if row["vanishes"]:
        return SaveResult()
    return SaveResult(merged_of(row, actor, collection))
