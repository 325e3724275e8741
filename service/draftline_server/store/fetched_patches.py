"""Patches by fetch, merge and replace under a row lock; used when partial updates are off.

This takes several statements, and transfers the whole content both ways, where `patches.py`
needs one statement. The results are the same; the whole test suite of patches runs over both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import asyncpg
import msgspec

from ..domain.changes import Write
from ..domain.content import Limits, changed_fields, equal
from ..domain.errors import DraftlineError
from ..domain.records import Actor, Operations, Patch, PatchResult, Record
from .collections.cache import CollectionSpecs, StaleCollectionSpecError
from .database import Database
from .driver_errors import RacedError
from .edited import edited, where_of
from .idempotency import store_record_response
from .in_place_patches import edit_of
from .record_errors import condition_json, condition_not_met, deleted, error_of, not_found, version_mismatch
from .record_rows import limit_values, record_of
from .relations.references import Key
from .statements import load
from .transaction import Transaction

SQL = load("content")
DRAFTS = load("drafts")

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class _Edited:
    """A record after its patch, before it is written."""

    patch: Patch
    before: Record | None
    record: Record
    changed: Sequence[str]
    is_written: bool

    @property
    def is_new(self) -> bool:
        return self.before is None

    @property
    def key(self) -> tuple[str, str]:
        return self.record.collection, self.record.record_id


class FetchedPatches:
    """A PatchApplier that merges here, between a locking SELECT and an UPDATE of one transaction."""

    def __init__(self, specs: CollectionSpecs, limits: Limits) -> None:
        self._specs = specs
        self._limits = limits

    async def apply(
        self, runner: Database | Transaction, write: Write, patches: Sequence[Patch], *, stores_responses: bool,
        locked: Collection[Key] | None = None,
    ) -> Sequence[PatchResult]:  # fmt: skip
        """Apply the patches; see PatchApplier."""
        actor, now = write.actor, write.now
        if isinstance(runner, Database):
            return await runner.transact(
                lambda transaction: self.apply(transaction, write, patches, stores_responses=stores_responses),
                idempotent=actor.request is not None,
            )
        await self._check_specs(runner, actor, patches)
        rows = await self._lock(runner, actor, patches, locked)
        outcomes: list[_Edited | DraftlineError] = []
        for index, patch in enumerate(patches, start=1):
            try:
                outcomes.append(self._edit(actor, patch, rows.get(index), now))
            except DraftlineError as error:
                outcomes.append(error)
        await self._refuse_unfit(runner, actor, outcomes)
        stored = await self._write(runner, write, [outcome for outcome in outcomes if isinstance(outcome, _Edited)])
        results = [
            PatchResult(stored[outcome.key], outcome.changed, written=outcome.is_written)
            if isinstance(outcome, _Edited)
            else PatchResult(error=outcome)
            for outcome in outcomes
        ]
        for result in results:
            if stores_responses and result.record is not None:
                await store_record_response(runner, actor, result.record, result.changed_fields, written=result.written)
        return results

    async def _check_specs(self, transaction: Transaction, actor: Actor, patches: Sequence[Patch]) -> None:
        collections = list({patch.collection for patch in patches})
        values: dict[str, object] = {"tenant_id": actor.tenant_id, "collections": collections}
        versions = {
            row["collection"]: row["version"] for row in await transaction.fetch(SQL["definition_versions"], values)
        }
        for collection in collections:
            known = self._specs.known(actor.tenant_id, collection)
            if known.version != versions.get(collection, 0):
                raise StaleCollectionSpecError

    async def _lock(
        self, transaction: Transaction, actor: Actor, patches: Sequence[Patch], locked: Collection[Key] | None
    ) -> dict[int, asyncpg.Record]:
        """Lock the records of patches, and return their rows by the number of the patch, from 1.

        Without those that were missing when the transaction locked the records: see PatchApplier.
        """
        missing = {
            index for index, patch in enumerate(patches, start=1)
            if locked is not None and (patch.collection, patch.record_id) not in locked
        }  # fmt: skip
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id,
            "collections": [patch.collection for patch in patches],
            "record_ids": [patch.record_id for patch in patches],
            "conditions": [
                condition_json(patch.condition, self._specs.known(actor.tenant_id, patch.collection))
                for patch in patches
            ],
        }
        rows = await transaction.fetch(SQL["lock_content"], {**values, "left_out": list(missing)})
        return {row["index"]: row for row in rows}

    def _edit(self, actor: Actor, patch: Patch, row: asyncpg.Record | None, now: datetime) -> _Edited:
        old = self._current(actor, patch, row, now)
        before = _decode(old.content)
        after = edited(patch.change, before, self._limits)
        content_changes = not equal(before, after)
        new = replace(
            old,
            parent_id=old.parent_id if patch.parent_id is None else patch.parent_id or None,
            position=old.position if patch.position is None else patch.position,
        )
        if row is not None and not content_changes and new == old:
            return _Edited(patch, old, old, (), is_written=False)
        if content_changes or row is None:
            new = replace(new, content=_encode(after).decode())
        new = replace(new, version=old.version + 1, updated_at=now, updated_by=actor.user_id)
        stored = old if row is not None else None
        return _Edited(patch, stored, new, changed_fields(before, after), is_written=True)

    def _current(self, actor: Actor, patch: Patch, row: asyncpg.Record | None, now: datetime) -> Record:
        """Return the stored record, or the empty one that the patch may create."""
        if row is None and not patch.allow_missing:
            raise not_found(patch.collection, patch.record_id)
        if row is not None and row["deleted_at"] is not None:
            raise deleted(patch.record_id)
        user = actor.user_id
        empty = Record(patch.collection, patch.record_id, "{}", 0, None, None, now, user, now, user, None)
        record = record_of(row) if row is not None else empty
        if patch.expected_version is not None and patch.expected_version != record.version:
            raise version_mismatch(patch.record_id, record.version)
        if patch.condition is not None and (row is None or not row["condition_met"]):
            raise condition_not_met(patch.record_id)
        return record

    async def _refuse_unfit(
        self, transaction: Transaction, actor: Actor, outcomes: list[_Edited | DraftlineError]
    ) -> None:
        """Replace each edit whose content may not be stored, for example one over a limit, with its error."""
        edits = [(index, edit) for index, edit in enumerate(outcomes) if isinstance(edit, _Edited) and edit.changed]
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id,
            "collections": [edit.record.collection for _, edit in edits],
            "contents": [edit.record.content for _, edit in edits],
            **limit_values(self._limits),
        }
        for row in await transaction.fetch(SQL["content_failures"], values) if edits else []:
            index, edit = edits[row["index"] - 1]
            patch = edit.patch
            outcomes[index] = error_of(row["failure"], patch.collection, patch.record_id, where_of(patch))

    async def _write(
        self, transaction: Transaction, write: Write, edits: Sequence[_Edited]
    ) -> dict[tuple[str, str], Record]:
        """Write the edits; return the records by collection and id, with contents as PostgreSQL returns them."""
        actor, now = write.actor, write.now
        after = {edit.key: edit.record for edit in edits}
        for is_new, name in ((False, "replace_content"), (True, "insert_content")):
            written = [edit for edit in edits if edit.is_written and edit.is_new is is_new]
            records = [edit.record for edit in written]
            if not records:
                continue
            values: dict[str, object] = {
                "tenant_id": actor.tenant_id,
                "user_id": actor.user_id,
                "now": now,
                "collections": [record.collection for record in records],
                "record_ids": [record.record_id for record in records],
                "contents": [record.content for record in records],
                "parent_ids": [record.parent_id for record in records],
                "positions": [record.position for record in records],
            }
            stored = await transaction.fetch(SQL[name], values)
            if is_new and len(stored) < len(records):
                raise RacedError
            for row in stored:
                key = row["collection"], row["record_id"]
                after[key] = replace(after[key], content=row["content"])
            logged = {
                "old_contents": [edit.before.content if edit.before else None for edit in written],
                "old_parent_ids": [edit.before.parent_id if edit.before else None for edit in written],
                "old_positions": [edit.before.position if edit.before else None for edit in written],
                "source": write.source,
                "commit_id": write.commit_id or None,
                "change_reason": write.change_reason,
                "request_id": write.request_id,
            }
            await transaction.fetch(SQL["log_content"], {**values, **logged})
            if not is_new:
                refreshed = {**values, "steps_done": await self._steps_done(transaction, written)}
                await transaction.fetch(DRAFTS["refresh_drafts"], refreshed)
        return after

    async def _steps_done(self, transaction: Transaction, edits: Sequence[_Edited]) -> list[str | None] | None:
        """Return the transforms that each edit has applied, as `draftline.steps_done` reports; None if none has any."""
        if not any(isinstance(edit.patch.change, Operations) for edit in edits):
            return None
        values: dict[str, object] = {
            "operations": [
                edit_of(edit.patch.change)[1] if isinstance(edit.patch.change, Operations) else "[]" for edit in edits
            ],
            "old_contents": [edit.before.content if edit.before else None for edit in edits],
            "contents": [edit.record.content for edit in edits],
        }
        return [row["steps_done"] for row in await transaction.fetch(SQL["steps_done"], values)]
