"""Revive deleted records for patches that may create them: the patch is then applied to an empty content."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..domain.changes import Write
from ..domain.content import Limits
from ..domain.errors import DraftlineError, RecordDeletedError
from ..domain.records import Patch, PatchResult
from .collections.cache import CollectionSpecs
from .content import SQL
from .driver_errors import RacedError
from .edited import edited, where_of
from .record_errors import condition_not_met, deleted_counts_as_none, error_of, id_of_deleted
from .record_rows import limit_values, record_of
from .transaction import Transaction

_encode = msgspec.json.Encoder(decimal_format="number").encode


def explained(patch: Patch, result: PatchResult) -> PatchResult:
    """Return the result of a patch; if a deleted record prevents a creation, its error names the ways out."""
    if patch.allow_missing and isinstance(result.error, RecordDeletedError):
        return PatchResult(error=id_of_deleted(patch.record_id))
    return result


class Revivals:
    """Brings deleted records back for patches with `allow_deleted`."""

    def __init__(self, specs: CollectionSpecs, limits: Limits) -> None:
        self._specs = specs
        self._limits = limits

    async def complete(
        self,
        transaction: Transaction,
        write: Write,
        patches: Sequence[Patch],
        results: Sequence[PatchResult],
        *,
        stores_responses: bool,
    ) -> list[PatchResult]:
        """Revive the deleted records of patches that were applied in the transaction, and return all results.

        Raises StaleCollectionSpecError or RacedError if the transaction has to be rolled back.
        """
        completed: list[PatchResult] = []
        for patch, result in zip(patches, results, strict=True):
            if not (patch.allow_deleted and isinstance(result.error, RecordDeletedError)):
                completed.append(explained(patch, result))
                continue
            try:
                completed.append(await self._revive(transaction, write, patch, stores_responses=stores_responses))
            except DraftlineError as error:
                completed.append(PatchResult(error=error))
        return completed

    async def _revive(
        self, transaction: Transaction, write: Write, patch: Patch, *, stores_responses: bool
    ) -> PatchResult:
        if patch.expected_version:
            raise deleted_counts_as_none(patch.record_id)
        if patch.condition is not None:
            raise condition_not_met(patch.record_id)
        request = write.actor.request if stores_responses else None
        values: dict[str, object] = {
            "tenant_id": write.actor.tenant_id,
            "user_id": write.actor.user_id,
            "collection": patch.collection,
            "record_id": patch.record_id,
            "content": _encode(edited(patch.change, {}, self._limits)).decode(),
            "parent_id": patch.parent_id or None,
            "position": patch.position,
            "definition_version": self._specs.known(write.actor.tenant_id, patch.collection).version,
            "now": write.now,
            "source": write.source,
            "commit_id": write.commit_id or None,
            "change_reason": write.change_reason,
            "request_id": write.request_id,
            "fingerprint": request.fingerprint if request is not None else None,
            "with_changed_fields": True,
            **limit_values(self._limits),
        }
        rows = await transaction.fetch(SQL["recreate_content"], values)
        if not rows:
            raise RacedError
        row = rows[0]
        if row["failure"] is not None:
            raise error_of(row["failure"], patch.collection, patch.record_id, where_of(patch))
        return PatchResult(record_of(row), sorted(row["changed_fields"]), written=True)
