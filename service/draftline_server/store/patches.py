"""Patches of one or many records; an applier does the merge (in_place_patches.py, fetched_patches.py)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol, runtime_checkable

import uuid_utils

from ..domain.changes import ChangeSource, Write
from ..domain.content import Limits
from ..domain.errors import DraftlineError
from ..domain.records import Actor, Patch, PatchResult
from .collections.cache import CollectionSpecs, StaleCollectionSpecError
from .database import Database
from .driver_errors import RacedError
from .edited import where_of
from .relations.references import Key, Locked, ReferenceChecks
from .revivals import Revivals, explained
from .transaction import Transaction


class PatchApplier(Protocol):
    """Applies patches, within a transaction or in one of its own; the results are in the order of the patches."""

    async def apply(
        self, runner: Database | Transaction, write: Write, patches: Sequence[Patch], *, stores_responses: bool,
        locked: Collection[Key] | None = None,
    ) -> Sequence[PatchResult]:  # fmt: skip
        """Apply the patches and return a result for each.

        `stores_responses`: store the response of each patch under the request id, because the patch is the whole call.
        `locked`: the records that the transaction has locked, in primary-key order; the others did not exist then. It
        waits for none that was created since, because that could be a deadlock.
        Raises StaleCollectionSpecError or RacedError if the transaction has to be rolled back.
        """


@runtime_checkable
class SharingApplier(PatchApplier, Protocol):
    """An applier that lets single patches share statements."""

    async def apply_each(
        self,
        database: Database,
        patches: Sequence[tuple[Write, Patch]],
        ended: Callable[[int, PatchResult | BaseException], None],
    ) -> None:
        """Apply patches of one tenant and one collection, each as if it was applied by itself.

        `ended` is called with the index and the outcome of each as soon as it is known. The response of each is stored
        under its request id.
        """
        ...


class _RejectedError(Exception):
    """Some of the patches that were applied since the savepoint are rejected."""


class PatchStore:
    """Patches one or many records by an applier: in index, or by fetch, merge and replace."""

    def __init__(
        self, database: Database, specs: CollectionSpecs, applier: PatchApplier, limits: Limits | None = None
    ) -> None:
        self._database = database
        self._specs = specs
        self._applier = applier
        self._sharing = applier if isinstance(applier, SharingApplier) else None
        self._references = ReferenceChecks(specs)
        self._revivals = Revivals(specs, limits or Limits())

    async def patch(self, actor: Actor, patch: Patch, *, change_reason: str, validate_only: bool) -> PatchResult:
        """Return the result of one patch, or raise its error."""

        async def attempt() -> PatchResult:
            write = Write(actor, ChangeSource.PATCH_CONTENT, await self._database.now(), change_reason)
            if not (validate_only or self._is_checked(actor, patch) or patch.allow_deleted):
                return (await self._applier.apply(self._database, write, [patch], stores_responses=True))[0]
            work = partial(self._checked_one, write, patch, validate_only)
            return await self._database.transact(work, idempotent=actor.request is not None)

        result = await self._specs.retry_if_stale(actor.tenant_id, (patch.collection,), attempt)
        result = explained(patch, result)
        if result.error is not None:
            raise result.error
        return result

    def is_shared(self, actor: Actor, patch: Patch) -> bool:
        """Return whether `patch_each` applies the patch."""
        is_plain = not patch.allow_missing and patch.condition is None
        return self._sharing is not None and is_plain and not self._is_checked(actor, patch)

    async def patch_each(
        self,
        patches: Sequence[tuple[Actor, Patch, str]],
        ended: Callable[[int, PatchResult | BaseException | None], None],
    ) -> None:
        """Apply shared patches of one tenant and one collection with their change reasons, each as `patch` does.

        `ended` is called with the index and the outcome of each as soon as it is known; None: nothing was done, and
        `patch` has to apply it, because the spec was replaced meanwhile, or another call changed the same data.
        """
        if self._sharing is None:
            raise TypeError("the applier shares no statements")
        now = await self._database.now()
        # Again, because the spec may have been replaced while the database was asked for the time.
        shared = [index for index, (actor, patch, _) in enumerate(patches) if self.is_shared(actor, patch)]
        for index in set(range(len(patches))).difference(shared):
            ended(index, None)
        if not shared:
            return
        writes = [
            (Write(actor, ChangeSource.PATCH_CONTENT, now, reason), patch)
            for actor, patch, reason in (patches[index] for index in shared)
        ]

        def note_end(number: int, outcome: PatchResult | BaseException) -> None:
            is_undone = isinstance(outcome, StaleCollectionSpecError | RacedError)
            ended(shared[number], None if is_undone else outcome)

        await self._sharing.apply_each(self._database, writes, note_end)

    async def _checked_one(
        self, write: Write, patch: Patch, validate_only: bool, transaction: Transaction
    ) -> PatchResult:
        if validate_only:
            transaction.mark_rollback_only()
        keeps = not validate_only
        locked = await self._lock_named(transaction, write.actor, [patch])
        applied = await self._applier.apply(
            transaction, write, [patch], stores_responses=keeps, locked=locked.keys if locked else None
        )
        results = await self._revivals.complete(transaction, write, [patch], applied, stores_responses=keeps)
        for error in (await self._broken(transaction, write.actor, [patch], results, locked)).values():
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
        if allow_partial and any(self._is_checked(actor, patch) for patch in patches):
            results = await self._apply_accepted(transaction, write, patches)
        else:
            locked = await self._lock_named(transaction, actor, patches)
            results = list(await self._apply_all(transaction, write, patches, locked))
            for index, error in (await self._broken(transaction, actor, patches, results, locked)).items():
                results[index] = PatchResult(error=error)
        return results, write.commit_id if any(result.written for result in results) else ""

    def _is_checked(self, actor: Actor, patch: Patch) -> bool:
        """Return whether the result of a patch has to be checked before the transaction is committed."""
        spec = self._specs.known(actor.tenant_id, patch.collection)
        return bool(spec.json_schema) or self._references.touches(actor.tenant_id, patch)

    async def _apply_accepted(
        self, transaction: Transaction, write: Write, patches: Sequence[Patch]
    ) -> list[PatchResult]:
        """Apply the patches, undo them if a schema or a reference rejects some, and apply the others."""
        rejected: dict[int, DraftlineError] = {}
        while True:
            indexes = [index for index in range(len(patches)) if index not in rejected]
            accepted = [patches[index] for index in indexes]
            with suppress(_RejectedError):
                async with transaction.savepoint():
                    locked = await self._lock_named(transaction, write.actor, accepted)
                    applied = await self._apply_all(transaction, write, accepted, locked)
                    broken = await self._broken(transaction, write.actor, accepted, applied, locked)
                    if broken:
                        rejected.update({indexes[index]: error for index, error in broken.items()})
                        raise _RejectedError
                results = dict(zip(indexes, applied, strict=True))
                results |= {index: PatchResult(error=error) for index, error in rejected.items()}
                return [results[index] for index in range(len(patches))]

    async def _apply_all(
        self, transaction: Transaction, write: Write, patches: Sequence[Patch], locked: Locked | None
    ) -> Sequence[PatchResult]:
        if not patches:
            return []
        applied = await self._applier.apply(
            transaction, write, patches, stores_responses=False, locked=locked.keys if locked else None
        )
        return await self._revivals.complete(transaction, write, patches, applied, stores_responses=False)

    async def _lock_named(self, transaction: Transaction, actor: Actor, patches: Sequence[Patch]) -> Locked | None:
        """Lock the records of patches if one may change references, and return the ids that they name; else None.

        All of them are locked at once, because the others would be locked later than in primary-key order.
        """
        if not any(self._references.touches(actor.tenant_id, patch) for patch in patches):
            return None
        keys = [(patch.collection, patch.record_id) for patch in patches]
        return await self._references.lock_named(transaction, actor.tenant_id, keys)

    async def _broken(
        self,
        transaction: Transaction,
        actor: Actor,
        patches: Sequence[Patch],
        results: Sequence[PatchResult],
        locked: Locked | None,
    ) -> dict[int, DraftlineError]:
        """Return, by index, the errors of patches whose result violates a JSON Schema or names a missing record."""
        contents = {
            index: (patch.collection, result.record.content, where_of(patch))
            for index, (patch, result) in enumerate(zip(patches, results, strict=True))
            if result.record is not None
        }
        violations = await self._specs.violations(actor.tenant_id, list(contents.values()))
        broken = {index: error for index, error in zip(contents, violations, strict=True) if error is not None}
        indexes: dict[Key, int] = {
            (patch.collection, patch.record_id): index
            for index, patch in enumerate(patches)
            if results[index].written and self._references.touches(actor.tenant_id, patch)
        }
        before = locked.named if locked else {}
        problems = await self._references.problems(transaction, actor.tenant_id, before, written=indexes)
        return {**{indexes[key]: error for key, error in problems.items()}, **broken}
