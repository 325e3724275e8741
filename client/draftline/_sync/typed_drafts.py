# Generated from draftline/_async/typed_drafts.py by `make generate`; never edited.
"""The drafts of a typed collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from draftline._core.model_adapters import ModelT
from draftline._sync.typed_reads import TypedReads
from draftline.models import (
    UNSET,
    ConflictPolicy,
    ConflictPolicyName,
    DraftEdit,
    MergedRecord,
    Results,
    TypedRecord,
    TypedResult,
    Unset,
)

if TYPE_CHECKING:
    pass


class TypedDrafts(TypedReads[ModelT]):
    def save_draft(
        self,
        record: TypedRecord[ModelT],
        model: ModelT | None = None,
        *,
        expected_draft_version: int | None = None,
        base_version: int | None = None,
        session_id: str = "",
        change_reason: str = "",
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> TypedRecord[ModelT]:
        """Save the attributes that differ from the record as it was read as a draft, as `save_draft`."""
        merged = self._client.save_draft(
            self._collection,
            record.record_id,
            **self._records.changes(record, model),
            expected_draft_version=expected_draft_version,
            base_version=base_version,
            session_id=session_id,
            change_reason=change_reason,
            request_id=request_id,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        return self._records.merged(cast(MergedRecord, merged))  # None is returned for deletions only

    def save_drafts(
        self,
        records: Iterable[TypedRecord[ModelT]],
        *,
        session_id: str = "",
        change_reason: str = "",
        allow_partial: bool = False,
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> list[TypedResult[ModelT]]:
        """Save the edited attributes of 1 to 1,000 records as drafts, as `save_drafts`."""
        return self._save([self._records.edit(each) for each in records], session_id=session_id,
                                change_reason=change_reason, allow_partial=allow_partial, request_id=request_id,
                                timeout=timeout)  # fmt: skip

    def draft_creations(
        self,
        models: Mapping[str, ModelT],
        *,
        session_id: str = "",
        change_reason: str = "",
        allow_partial: bool = False,
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> list[TypedResult[ModelT]]:
        """Save the creations of 1 to 1,000 records as drafts. `models` maps their ids to their contents."""
        edits = [DraftEdit(record_id, create=self._records.content(model)) for record_id, model in models.items()]
        return self._save(edits, session_id=session_id, change_reason=change_reason,
                                allow_partial=allow_partial, request_id=request_id, timeout=timeout)  # fmt: skip

    def draft_deletions(
        self,
        record_ids: Iterable[str],
        *,
        session_id: str = "",
        change_reason: str = "",
        allow_partial: bool = False,
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> list[TypedResult[ModelT]]:
        """Save the deletions of 1 to 1,000 records as drafts."""
        edits = [DraftEdit(record_id, delete=True) for record_id in record_ids]
        return self._save(edits, session_id=session_id, change_reason=change_reason,
                                allow_partial=allow_partial, request_id=request_id, timeout=timeout)  # fmt: skip

    def _save(self, edits: list[DraftEdit], **options: Any) -> list[TypedResult[ModelT]]:
        results = self._client.save_drafts(self._collection, edits, tenant_id=self._tenant_id, **options)
        return [self._records.saved(each) for each in results]

    def commit(
        self,
        *,
        session_id: str | None = None,
        record_ids: Iterable[str] | Mapping[str, int | None] | None = None,
        all: bool = False,
        conflict_policy: ConflictPolicy | ConflictPolicyName = ConflictPolicy.REJECT,
        validate_only: bool = False,
        allow_partial: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[TypedResult[ModelT]]:
        """Commit the caller's drafts, as `commit`. The results have the records as written."""
        results = self._client.commit(
            self._collection,
            session_id=session_id,
            record_ids=record_ids,
            all=all,
            conflict_policy=conflict_policy,
            validate_only=validate_only,
            allow_partial=allow_partial,
            include_content=True,
            change_reason=change_reason,
            request_id=request_id,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        return Results(map(self._records.committed, results), results.commit_id, results.selected_count)

    def discard(
        self,
        *,
        session_id: str | None = None,
        record_ids: Iterable[str] | Mapping[str, int | None] | None = None,
        all: bool = False,
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[MergedRecord]:
        """Discard the caller's drafts, as `discard`. The results have no content."""
        return self._client.discard(
            self._collection,
            session_id=session_id,
            record_ids=record_ids,
            all=all,
            request_id=request_id,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
