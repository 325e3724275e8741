"""Patches, merged inside the UPDATE: one statement for any number of patches."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

import asyncpg
import msgspec
import uuid_utils

from ..domain.changes import ChangeSource, Write
from ..domain.content import Limits
from ..domain.edits import Operation
from ..domain.errors import DraftlineError
from ..domain.records import Actor, Delta, Operations, Patch, PatchResult, Record
from ..domain.values import value_class
from .collections.cache import CollectionSpecs
from .content import limit_values
from .database import Database
from .edited import where_of
from .record_errors import condition_json, error_of, not_found
from .revivals import Revivals, explained
from .statements import load
from .transaction import Transaction

SQL = load("content")

_encode = msgspec.json.Encoder(decimal_format="number").encode


class PatchApplier(Protocol):
    """Applies patches, within a transaction or in one of its own; the results are in the order of the patches."""

    async def apply(
        self, runner: Database | Transaction, write: Write, patches: Sequence[Patch], *, keeps_answers: bool
    ) -> Sequence[PatchResult]:
        """Apply the patches and return a result for each.

        `keeps_answers`: store the answer of each patch under the request id, because the patch is the whole call.
        Raises StaleCollectionSpecError or RacedError if the transaction has to be rolled back.
        """


class _RejectedError(Exception):
    """A schema rejects some of the patches that were applied since the savepoint."""


class PatchStore:
    """Patches one or many records by an applier: in place, or by fetch, merge and replace."""

    def __init__(
        self, database: Database, definitions: CollectionSpecs, applier: PatchApplier, limits: Limits | None = None
    ) -> None:
        self._database = database
        self._definitions = definitions
        self._applier = applier
        self._revivals = Revivals(definitions, limits or Limits())

    async def patch(self, actor: Actor, patch: Patch, *, change_reason: str, validate_only: bool) -> PatchResult:
        """Return the result of one patch, or raise its error."""

        async def attempt() -> PatchResult:
            write = Write(actor, ChangeSource.PATCH_CONTENT, await self._database.now(), change_reason)
            if not (validate_only or self._has_schema(actor, patch) or (patch.allow_missing and patch.allow_deleted)):
                return (await self._applier.apply(self._database, write, [patch], keeps_answers=True))[0]
            transact = self._database.transact
            return await transact(partial(self._checked_one, write, patch, validate_only), idempotent=_resends(actor))

        result = await self._definitions.retry_if_stale(actor.tenant_id, (patch.collection,), attempt)
        result = explained(patch, result)
        if result.error is not None:
            raise result.error
        return result

    async def _checked_one(
        self, write: Write, patch: Patch, validate_only: bool, transaction: Transaction
    ) -> PatchResult:
        if validate_only:
            transaction.mark_rollback_only()
        keeps = not validate_only
        applied = await self._applier.apply(transaction, write, [patch], keeps_answers=keeps)
        results = await self._revivals.complete(transaction, write, [patch], applied, keeps_answers=keeps)
        for error in (await self._broken(write.actor, [patch], results)).values():
            raise error
        return results[0]

    async def patch_all(
        self,
        transaction: Transaction,
        actor: Actor,
        patches: Sequence[Patch],
        *,
        change_reason: str,
        allow_partial: bool,
    ) -> tuple[list[PatchResult], str]:
        """Return a result for each patch, and the id of the commit, which is empty if nothing was written.

        Without `allow_partial`, the transaction must be rolled back if any result has an error. Raises
        StaleCollectionSpecError or RacedError if it has to be rolled back and tried again.
        """
        write = Write(
            actor, ChangeSource.BATCH_PATCH_CONTENT, await transaction.now(), change_reason, str(uuid_utils.uuid7())
        )
        if allow_partial and any(self._has_schema(actor, patch) for patch in patches):
            results = await self._apply_accepted(transaction, write, patches)
        else:
            results = list(await self._apply_all(transaction, write, patches))
            for index, error in (await self._broken(actor, patches, results)).items():
                results[index] = PatchResult(error=error)
        return results, write.commit_id if any(result.written for result in results) else ""

    def _has_schema(self, actor: Actor, patch: Patch) -> bool:
        return bool(self._definitions.known(actor.tenant_id, patch.collection).json_schema)

    async def _apply_accepted(
        self, transaction: Transaction, write: Write, patches: Sequence[Patch]
    ) -> list[PatchResult]:
        """Apply the patches, undo them if a schema rejects some, and apply the others."""
        rejected: dict[int, DraftlineError] = {}
        while True:
            indexes = [index for index in range(len(patches)) if index not in rejected]
            kept = [patches[index] for index in indexes]
            with suppress(_RejectedError):
                async with transaction.savepoint():
                    applied = await self._apply_all(transaction, write, kept)
                    broken = await self._broken(write.actor, kept, applied)
                    if broken:
                        rejected.update({indexes[index]: error for index, error in broken.items()})
                        raise _RejectedError
                results = dict(zip(indexes, applied, strict=True))
                results |= {index: PatchResult(error=error) for index, error in rejected.items()}
                return [results[index] for index in range(len(patches))]

    async def _apply_all(
        self, transaction: Transaction, write: Write, patches: Sequence[Patch]
    ) -> Sequence[PatchResult]:
        if not patches:
            return []
        applied = await self._applier.apply(transaction, write, patches, keeps_answers=False)
        return await self._revivals.complete(transaction, write, patches, applied, keeps_answers=False)

    async def _broken(
        self, actor: Actor, patches: Sequence[Patch], results: Sequence[PatchResult]
    ) -> dict[int, DraftlineError]:
        """Return, by index, the errors of patches whose result violates a JSON Schema."""
        contents = {
            place: (patch.collection, result.record.content, where_of(patch))
            for place, (patch, result) in enumerate(zip(patches, results, strict=True))
            if result.record is not None
        }
        violations = await self._definitions.violations(actor.tenant_id, list(contents.values()))
        return {place: error for place, error in zip(contents, violations, strict=True) if error is not None}


def _resends(actor: Actor) -> bool:
    return actor.request is not None


@value_class
class PatchEntry:
    """One patch as an argument of the statement: `values` holds its element of each of ARRAYS."""

    write: Write
    patch: Patch
    values: tuple[object, ...]


@value_class
class Terms:
    """The terms on which patches share a statement; see patch_content.

    `lock_timeout_ms`: how long a statement that does not wait for rows may wait for other locks. `max_cost`: bytes of
    content times the steps of a patch.
    """

    waits: bool
    creates: bool = True
    lock_timeout_ms: int = 25
    max_cost: int = 256 * 1024
    max_drafts: int = 8


WAITING = Terms(waits=True)  # for one patch, or for those of one call

ARRAYS = (
    "collections", "record_ids", "kinds", "edits", "depths", "expected_versions", "conditions", "definition_versions",
    "allow_missings", "sets_parents", "parent_ids", "positions",
    "user_ids", "change_reasons", "request_ids", "fingerprints", "weights",
)  # fmt: skip


class InPlacePatches:
    """A PatchApplier that merges in SQL, inside the UPDATE."""

    def __init__(self, definitions: CollectionSpecs, limits: Limits) -> None:
        self._definitions = definitions
        self._limits = limit_values(limits)

    async def apply(
        self, runner: Database | Transaction, write: Write, patches: Sequence[Patch], *, keeps_answers: bool
    ) -> Sequence[PatchResult]:
        """Apply the patches; see PatchApplier."""
        entries = [self.entry(write, patch, keeps_answers=keeps_answers) for patch in patches]
        rows = await self.rows(runner, entries)
        return [result_of(entry, row) for entry, row in zip(entries, rows, strict=True)]

    def entry(self, write: Write, patch: Patch, *, keeps_answers: bool) -> PatchEntry:
        """Build the statement's argument for a patch.

        Raises InvalidFilterError if the condition does not fit the collection's declaration.
        """
        actor, request = write.actor, write.actor.request
        definition = self._definitions.known(actor.tenant_id, patch.collection)
        values = (
            patch.collection,
            patch.record_id,
            *edit_of(patch.change),
            patch.expected_version,
            condition_json(patch.condition, definition),
            definition.version,
            patch.allow_missing,
            patch.parent_id is not None,
            patch.parent_id or None,
            patch.position,
            actor.user_id,
            write.change_reason,
            write.request_id,
            request.fingerprint if keeps_answers and request else None,
            steps_of(patch.change),
        )
        return PatchEntry(write, patch, values)

    async def rows(
        self, runner: Database | Transaction, entries: Sequence[PatchEntry], terms: Terms = WAITING
    ) -> Sequence[asyncpg.Record | None]:
        """Apply patches of different records of one tenant in one statement, and return the row of each."""
        write = entries[0].write
        values: dict[str, object] = {
            "tenant_id": write.actor.tenant_id,
            # Patches of several calls that share a statement are dated when it is sent, after they waited for it.
            "now": await runner.now() if isinstance(runner, Database) else write.moment,
            "source": write.source,
            "commit_id": write.commit_id or None,
            "waits": terms.waits,
            "creates": terms.creates,
            "lock_timeout": f"{terms.lock_timeout_ms}ms",
            "max_cost": terms.max_cost,
            "max_drafts": terms.max_drafts,
            **dict(zip(ARRAYS, zip(*(entry.values for entry in entries), strict=True), strict=True)),
            **self._limits,
        }
        if isinstance(runner, Database):
            idempotent = all(_resends(entry.write.actor) for entry in entries)
            fetched = await runner.fetch(SQL["patch_content"], values, idempotent=idempotent)
        else:
            fetched = await runner.fetch(SQL["patch_content"], values)
        rows: dict[int, asyncpg.Record] = {row[0]: row for row in fetched}
        return [rows.get(place) for place in range(1, len(entries) + 1)]


def result_of(entry: PatchEntry, row: asyncpg.Record | None) -> PatchResult:
    """Build the result of a patch from its row.

    Raises StaleCollectionSpecError, RacedError or LeftAloneError if nothing was done for it.
    """
    patch = entry.patch
    if row is None:
        return PatchResult(error=not_found(patch.collection, patch.record_id))
    if row["failure"] is not None:
        return PatchResult(error=error_of(row["failure"], patch.collection, patch.record_id, where_of(patch)))
    _, _, content, version, parent_id, position, created_at, created_by, updated_at, updated_by, changed, changes = row
    record = Record(
        patch.collection, patch.record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, None,
    )  # fmt: skip
    return PatchResult(record, sorted(changed), written=changes)


def edit_of(change: Delta | Operations | None) -> tuple[str, str | None, int]:
    """Return a change as `draftline.edit` takes it: kind, edit as JSON, and depth."""
    match change:
        case Delta(json, strategy, depth):
            return strategy, json, depth
        case Operations(steps):
            return "OPERATIONS", _encode([step_json(step) for step in steps]).decode(), 0
        case None:
            return "NONE", None, 0


def steps_of(change: Delta | Operations | None) -> int:
    """Return how many passes over the content a change makes: one, or one per operation (per element of a list)."""
    if not isinstance(change, Operations):
        return 1
    return max(1, sum(len(step.value) if isinstance(step.value, list) else 1 for step in change.steps))


def size_of(entry: PatchEntry) -> int:
    """Return the number of characters of a patch's change and condition, as they are sent."""
    sent = dict(zip(ARRAYS, entry.values, strict=True))
    return sum(len(text) for text in (sent["edits"], sent["conditions"]) if isinstance(text, str))


def step_json(step: Operation) -> dict[str, object]:
    return {"op": step.op, "path": step.path, "from": step.source, "value": step.value}
