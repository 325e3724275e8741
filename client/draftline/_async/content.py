"""The methods of ContentService for asyncio. Their docstrings are copied from the blocking client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from draftline._async.transport import Transport
from draftline._core import content_calls
from draftline.models import (
    UNSET,
    BatchResult,
    MergeStrategy,
    Patch,
    PatchResult,
    PurgeResult,
    Record,
    Results,
    Unset,
)
from draftline.operations import Operation


class ContentMethods(Transport):
    async def create_content(
        self,
        collection: str,
        content: Mapping[str, Any],
        *,
        record_id: str | None = None,
        parent_id: str | None = None,
        position: int | None = None,
        allow_deleted: bool = False,
        validate_only: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Record:
        call = content_calls.create_content(
            self._tenant(tenant_id),
            collection,
            content,
            record_id=record_id,
            parent_id=parent_id,
            position=position,
            allow_deleted=allow_deleted,
            validate_only=validate_only,
            fields=fields,
            change_reason=change_reason,
            request_id=request_id,
        )
        return await self._call(call, timeout)

    async def get_content(
        self,
        collection: str,
        record_id: str,
        *,
        fields: Iterable[str] = (),
        show_deleted: bool = False,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Record:
        call = content_calls.get_content(
            self._tenant(tenant_id), collection, record_id, fields=fields, show_deleted=show_deleted
        )
        return await self._call(call, timeout)

    async def patch_content(
        self,
        collection: str,
        record_id: str,
        delta: Mapping[str, Any] | None = None,
        *,
        operations: Iterable[Operation] | None = None,
        strategy: MergeStrategy | str | None = None,
        depth: int = 0,
        expected_version: int | None = None,
        condition: str = "",
        allow_missing: bool = False,
        allow_deleted: bool = False,
        parent_id: str | Unset | None = UNSET,
        position: int | None = None,
        validate_only: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> PatchResult:
        patch = Patch(
            record_id,
            delta,
            operations=operations,
            strategy=strategy,
            depth=depth,
            expected_version=expected_version,
            condition=condition,
            allow_missing=allow_missing,
            allow_deleted=allow_deleted,
            parent_id=parent_id,
            position=position,
            fields=fields,
        )
        call = content_calls.patch_content(
            self._tenant(tenant_id),
            collection,
            patch,
            validate_only=validate_only,
            change_reason=change_reason,
            request_id=request_id,
        )
        return await self._call(call, timeout)

    async def batch_patch_content(
        self,
        collection: str,
        patches: Iterable[Patch],
        *,
        allow_partial: bool = False,
        validate_only: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[BatchResult]:
        call = content_calls.batch_patch_content(
            self._tenant(tenant_id),
            collection,
            patches,
            allow_partial=allow_partial,
            validate_only=validate_only,
            change_reason=change_reason,
            request_id=request_id,
        )
        return await self._call(call, timeout)

    async def delete_content(
        self,
        collection: str,
        record_id: str,
        *,
        expected_version: int | None = None,
        condition: str = "",
        allow_missing: bool = False,
        validate_only: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Record | None:
        call = content_calls.delete_content(
            self._tenant(tenant_id),
            collection,
            record_id,
            expected_version=expected_version,
            condition=condition,
            allow_missing=allow_missing,
            validate_only=validate_only,
            fields=fields,
            change_reason=change_reason,
            request_id=request_id,
        )
        return await self._call(call, timeout)

    async def undelete_content(
        self,
        collection: str,
        record_id: str,
        *,
        expected_version: int | None = None,
        validate_only: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Record:
        call = content_calls.undelete_content(
            self._tenant(tenant_id),
            collection,
            record_id,
            expected_version=expected_version,
            validate_only=validate_only,
            fields=fields,
            change_reason=change_reason,
            request_id=request_id,
        )
        return await self._call(call, timeout)

    async def purge_content(
        self,
        collection: str,
        record_ids: Iterable[str] = (),
        *,
        deleted_before: datetime | None = None,
        limit: int = 0,
        validate_only: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> PurgeResult:
        call = content_calls.purge_content(
            self._tenant(tenant_id),
            collection,
            record_ids,
            deleted_before=deleted_before,
            limit=limit,
            validate_only=validate_only,
            change_reason=change_reason,
            request_id=request_id,
        )
        return await self._call(call, timeout)
