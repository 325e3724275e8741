"""The methods of DraftService except the lists, for asyncio. Docstrings are copied from the blocking client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from draftline._async.session import AsyncSession
from draftline._async.transport import Transport
from draftline._core import draft_calls
from draftline._core.draft_calls import RecordIds
from draftline._core.session_drafts import SessionDrafts
from draftline.errors import ConflictError
from draftline.models import (
    UNSET,
    CommitResult,
    ConflictPolicy,
    DraftEdit,
    MergedRecord,
    MergeStrategy,
    Resolution,
    Results,
    SaveResult,
    Unset,
)
from draftline.operations import Operation


class DraftMethods(Transport):
    async def save_draft(
        self,
        collection: str,
        record_id: str,
        delta: Mapping[str, Any] | None = None,
        *,
        operations: Iterable[Operation] | None = None,
        create: Mapping[str, Any] | None = None,
        delete: bool = False,
        strategy: MergeStrategy | str | None = None,
        depth: int = 0,
        expected_draft_version: int | None = None,
        base_version: int | None = None,
        replace: bool = False,
        parent_id: str | Unset | None = UNSET,
        position: int | Unset | None = UNSET,
        allow_deleted: bool = False,
        session_id: str = "",
        move_to_session: bool = False,
        change_reason: str = "",
        fields: Iterable[str] = (),
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> MergedRecord | None:
        edit = DraftEdit(
            record_id,
            delta,
            operations=operations,
            create=create,
            delete=delete,
            strategy=strategy,
            depth=depth,
            expected_draft_version=expected_draft_version,
            base_version=base_version,
            replace=replace,
            parent_id=parent_id,
            position=position,
            allow_deleted=allow_deleted,
        )
        call = draft_calls.save_draft(
            self._tenant(tenant_id),
            collection,
            [edit],
            session_id=session_id,
            move_to_session=move_to_session,
            change_reason=change_reason,
            allow_partial=False,
            omit_content=False,
            fields=fields,
            request_id=request_id,
        )
        return (await self._call(call, timeout))[0].unwrap()

    async def save_drafts(
        self,
        collection: str,
        edits: Iterable[DraftEdit],
        *,
        session_id: str = "",
        move_to_session: bool = False,
        change_reason: str = "",
        allow_partial: bool = False,
        omit_content: bool = False,
        fields: Iterable[str] = (),
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> list[SaveResult]:
        call = draft_calls.save_draft(
            self._tenant(tenant_id),
            collection,
            edits,
            session_id=session_id,
            move_to_session=move_to_session,
            change_reason=change_reason,
            allow_partial=allow_partial,
            omit_content=omit_content,
            fields=fields,
            request_id=request_id,
        )
        return await self._call(call, timeout)

    async def commit(
        self,
        collection: str,
        *,
        session_id: str | None = None,
        record_ids: RecordIds | None = None,
        all: bool = False,
        conflict_policy: ConflictPolicy | str = ConflictPolicy.REJECT,
        validate_only: bool = False,
        allow_partial: bool = False,
        include_content: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        resolutions: Iterable[Resolution] = (),
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[CommitResult]:
        decided = list(resolutions)
        call = draft_calls.commit(
            self._tenant(tenant_id),
            collection,
            session_id=session_id,
            record_ids=record_ids,
            all=all,
            conflict_policy=conflict_policy,
            validate_only=validate_only,
            allow_partial=allow_partial,
            include_content=include_content,
            fields=fields,
            change_reason=change_reason,
            resolutions=decided,
            request_id=request_id,
        )
        try:
            return await self._call(call, timeout)
        except ConflictError as error:
            draft_calls.keep_resolutions(error, decided)
            raise

    async def discard(
        self,
        collection: str,
        *,
        session_id: str | None = None,
        record_ids: RecordIds | None = None,
        all: bool = False,
        validate_only: bool = False,
        include_content: bool = False,
        fields: Iterable[str] = (),
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[MergedRecord]:
        call = draft_calls.discard(
            self._tenant(tenant_id),
            collection,
            session_id=session_id,
            record_ids=record_ids,
            all=all,
            validate_only=validate_only,
            include_content=include_content,
            fields=fields,
            request_id=request_id,
        )
        return await self._call(call, timeout)

    def session(
        self,
        collection: str,
        *,
        session_id: str | None = None,
        change_reason: str = "",
        conflict_policy: ConflictPolicy | str = ConflictPolicy.REJECT,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> AsyncSession:
        drafts = SessionDrafts(collection, change_reason=change_reason, conflict_policy=ConflictPolicy(conflict_policy))
        if session_id is not None:
            drafts.session_id = session_id
        return AsyncSession(self, drafts, tenant_id, timeout)
