"""Patches, merged inside the UPDATE: one statement, whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import asyncpg
import msgspec

from ..domain.content import Limits
from ..domain.edits import Operation
from ..domain.errors import ContentionError, DraftlineError
from ..domain.records import Actor, Delta, Operations, Patch, PatchResult
from .content import limit_values, now, record_of
from .definitions import CheckedDefinition, Definitions
from .engine import Database
from .failures import RacedError, condition_json, error_of, not_found
from .statements import load
from .transaction import Transaction

SQL = load("content")
MAX_RACES = 5  # times that a record comes into being just as it is created

_encode = msgspec.json.Encoder(decimal_format="number").encode


class PatchApplier(Protocol):
    """Applies patches within a transaction or by itself; the results are in the order of the patches."""

    async def apply(
        self, runner: Database | Transaction, actor: Actor, patches: Sequence[Patch], moment: datetime
    ) -> Sequence[PatchResult]:
        """Raises StaleDefinitionError and RacedError when nothing may be kept of it."""


class PatchStore:
    """Patches one or many records by an applier: in place, or by fetch, merge and replace."""

    def __init__(self, database: Database, definitions: Definitions, applier: PatchApplier) -> None:
        self._database = database
        self._definitions = definitions
        self._applier = applier

    async def patch(self, actor: Actor, patch: Patch, *, validate_only: bool) -> PatchResult:
        """The result of one patch; its error is raised."""
        result = (await self.patch_all(actor, [patch], allow_partial=False, validate_only=validate_only))[0]
        if result.error is not None:
            raise result.error
        return result

    async def patch_all(
        self,
        actor: Actor,
        patches: Sequence[Patch],
        *,
        allow_partial: bool,
        validate_only: bool,
        deliverable: Callable[[Sequence[PatchResult]], None] = lambda _: None,
    ) -> Sequence[PatchResult]:
        """One result a patch. Without `allow_partial` nothing is written if any has an error.

        `deliverable` sees what several patches would answer before it is kept, and may raise.
        """
        collections = {patch.collection for patch in patches}

        async def attempt() -> Sequence[PatchResult]:
            for _ in range(MAX_RACES):
                try:
                    return await self._attempt(
                        actor,
                        patches,
                        allow_partial=allow_partial,
                        validate_only=validate_only,
                        deliverable=deliverable,
                    )
                except RacedError:
                    continue
            raise ContentionError("the record keeps being created and removed; nothing was written, try again")

        return await self._definitions.until_fresh(actor.tenant_id, collections, attempt)

    async def _attempt(
        self,
        actor: Actor,
        patches: Sequence[Patch],
        *,
        allow_partial: bool,
        validate_only: bool,
        deliverable: Callable[[Sequence[PatchResult]], None],
    ) -> Sequence[PatchResult]:
        moment = now()
        if len(patches) == 1 and not validate_only and not self._needs_check(actor, patches):
            return await self._applier.apply(self._database, actor, patches, moment)
        refused: dict[int, DraftlineError] = {}
        while True:
            kept = [place for place in range(len(patches)) if place not in refused]
            results, broken = await self._in_transaction(
                actor,
                [patches[place] for place in kept],
                moment,
                allow_partial=allow_partial,
                validate_only=validate_only,
                deliverable=deliverable,
            )
            if not (broken and allow_partial):
                break
            refused |= {kept[place]: error for place, error in broken.items()}
        answers = dict(zip(kept, results, strict=True))
        for place, error in broken.items():
            answers[kept[place]] = PatchResult(error=error)
        return [answers[place] if place in answers else PatchResult(error=refused[place])
                for place in range(len(patches))]  # fmt: skip

    async def _in_transaction(
        self,
        actor: Actor,
        patches: Sequence[Patch],
        moment: datetime,
        *,
        allow_partial: bool,
        validate_only: bool,
        deliverable: Callable[[Sequence[PatchResult]], None],
    ) -> tuple[Sequence[PatchResult], dict[int, DraftlineError]]:
        """The results, and the schema's objections; with an objection, nothing was written."""

        async def work(transaction: Transaction) -> tuple[Sequence[PatchResult], dict[int, DraftlineError]]:
            results = await self._applier.apply(transaction, actor, patches, moment) if patches else []
            broken = self._broken(actor, patches, results)
            failed = not allow_partial and any(result.error for result in results)
            if validate_only or broken or failed:
                transaction.roll_back()
            else:
                deliverable(results)
            return results, broken

        return await self._database.transact(work)

    def _needs_check(self, actor: Actor, patches: Sequence[Patch]) -> bool:
        return any(self._checked(actor, patch).validator is not None for patch in patches)

    def _checked(self, actor: Actor, patch: Patch) -> CheckedDefinition:
        return self._definitions.known(actor.tenant_id, patch.collection)

    def _broken(
        self, actor: Actor, patches: Sequence[Patch], results: Sequence[PatchResult]
    ) -> dict[int, DraftlineError]:
        broken: dict[int, DraftlineError] = {}
        for place, (patch, result) in enumerate(zip(patches, results, strict=True)):
            checked = self._checked(actor, patch)
            if checked.validator is None or result.record is None:
                continue
            try:
                checked.check(result.record.content, where_of(patch))
            except DraftlineError as error:
                broken[place] = error
        return broken


class InPlacePatches:
    """The merge happens in SQL, inside the UPDATE."""

    def __init__(self, definitions: Definitions, limits: Limits) -> None:
        self._definitions = definitions
        self._limits = limits

    async def apply(
        self, runner: Database | Transaction, actor: Actor, patches: Sequence[Patch], moment: datetime
    ) -> Sequence[PatchResult]:
        """See PatchApplier."""
        values = {
            "tenant_id": actor.tenant_id,
            "user_id": actor.user_id,
            "now": moment,
            **self._arrays(actor, patches),
            **limit_values(self._limits),
        }
        rows = {row["place"]: row for row in await runner.fetch(SQL["patch_content"], values)}
        return [_result(patch, rows.get(place)) for place, patch in enumerate(patches, start=1)]

    def _arrays(self, actor: Actor, patches: Sequence[Patch]) -> dict[str, object]:
        edits = [edit_of(patch.change) for patch in patches]
        checked = [self._definitions.known(actor.tenant_id, patch.collection) for patch in patches]
        return {
            "collections": [patch.collection for patch in patches],
            "record_ids": [patch.record_id for patch in patches],
            "kinds": [kind for kind, _, _ in edits],
            "edits": [edit for _, edit, _ in edits],
            "depths": [depth for _, _, depth in edits],
            "expected_versions": [patch.expected_version for patch in patches],
            "conditions": [condition_json(p.condition, c) for p, c in zip(patches, checked, strict=True)],
            "definition_versions": [c.definition.version for c in checked],
            "allow_missings": [patch.allow_missing for patch in patches],
            "sets_parents": [patch.parent_id is not None for patch in patches],
            "parent_ids": [patch.parent_id or None for patch in patches],
            "positions": [patch.position for patch in patches],
        }


def where_of(patch: Patch) -> str:
    """The field of the request that an error of the merged content is about."""
    return "operations" if isinstance(patch.change, Operations) else "delta"


def edit_of(change: Delta | Operations | None) -> tuple[str, str | None, int]:
    """A change as `draftline.edit` takes it: kind, edit as JSON, and depth."""
    match change:
        case Delta(json, strategy, depth):
            return strategy, json, depth
        case Operations(steps):
            return "OPERATIONS", _encode([step_json(step) for step in steps]).decode(), 0
        case None:
            return "NONE", None, 0


def step_json(step: Operation) -> dict[str, object]:
    return {"op": step.op, "path": step.path, "from": step.source, "value": step.value}


def _result(patch: Patch, row: asyncpg.Record | None) -> PatchResult:
    if row is None:
        return PatchResult(error=not_found(patch.record_id))
    if row["failure"] is not None:
        return PatchResult(error=error_of(row["failure"], patch.record_id, where_of(patch)))
    return PatchResult(record_of(row), row["changed_fields"])
