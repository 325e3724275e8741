"""The methods of ContentService, except the import."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from draftline._async.bulk_writer import AsyncBulkWriter
from draftline._async.transport import Transport
from draftline._core import content_calls
from draftline.models import (
    UNSET,
    BatchResult,
    BulkFailure,
    MergeStrategy,
    Patch,
    PatchResult,
    PurgeResult,
    Record,
    Results,
    StrategyName,
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
        """Create a record at version 1.

            record = await client.create_content("movies", {"Title": "Brazil"}, record_id="m-3")

        Args:
            record_id: 1 to 128 characters; None: the service generates a UUIDv7.
            parent_id: any id, up to 128 characters.
            position: the position among its siblings.
            allow_deleted: the id may be that of a deleted record, which is then overwritten at its next version;
                its changes stay in the log.
            validate_only: checks everything and returns the result without writing it.
            fields: the top-level keys of the content to return; empty: all.

        Raises:
            AlreadyExistsError: the id is taken.
            NotFoundError: the id is that of a deleted record, and `allow_deleted` is not set.
            InvalidArgumentError: the content breaks a limit or the collection's schema.
        """
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
        expand: Iterable[str] = (),
        expand_limit: int = 0,
        included_fields: Iterable[str] = (),
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Record:
        """Read a record; with `show_deleted`, even if it is deleted.

            film = await client.get_content("movies", "m-1", fields=["Title"])
            print(film.version, film.content)  # 1 {'Title': 'Alien'}

        Args:
            fields: the top-level keys of the content to return; empty: all.
            expand: related records to return too, by paths of relations such as "author" or "author.company";
                `Record.related` returns them, without drafts. At most 10 paths of at most three relations each.
            expand_limit: related records of one record, by one relation; 0: 100; at most 1,000.
            included_fields: as `fields`, for the related records.

        Raises:
            NotFoundError: there is no such record, or it is deleted.
            InvalidArgumentError: `expand` has an unknown relation.
        """
        call = content_calls.get_content(
            self._tenant(tenant_id),
            collection,
            record_id,
            fields=fields,
            show_deleted=show_deleted,
            expand=expand,
            expand_limit=expand_limit,
            included_fields=included_fields,
        )
        return await self._call(call, timeout)

    async def patch_content(
        self,
        collection: str,
        record_id: str,
        delta: Mapping[str, Any] | None = None,
        *,
        operations: Iterable[Operation] | None = None,
        strategy: MergeStrategy | StrategyName | None = None,
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
        """Change a record atomically, without reading it first.

            await client.patch_content("movies", "m-1", {"Rating": 8.5}, condition='owner = "ada"')
            await client.patch_content("movies", "m-1", {"cast": {"Ash": None}}, strategy="merge_patch")
            await client.patch_content("movies", "m-1", operations=[op.increment("/Votes", 1)])

        A patch that changes nothing keeps the version and writes nothing.

        Args:
            delta: merged into the content according to `strategy`.
            operations: applied in order, all or none, instead of a delta; see `draftline.op`.
            strategy: "shallow" (the default), "deep", "merge_patch" or "replace".
            depth: for "deep": the number of object levels to merge; 0: all.
            expected_version: the version that the record must have; None: any.
            condition: a filter that the stored record must satisfy (AIP-160). An `UnknownFieldWarning` names
                a field in it that the collection does not seem to have, as do the `warnings` of the result.
            allow_missing: creates the record if it does not exist.
            allow_deleted: with `allow_missing`, a deleted record counts as missing: it is overwritten at its
                next version with the patch applied to an empty object.
            parent_id: not given: unchanged; None: removed.
            position: the position among its siblings; None: unchanged.
            validate_only: checks everything and returns the result without writing it.
            fields: the top-level keys of the content to return; empty: all.

        Raises:
            NotFoundError: there is no such record, or it is deleted.
            VersionMismatchError: the record is not at `expected_version`.
            ConditionNotMetError: the record does not satisfy `condition`.
            OperationTestFailedError: a `test` operation failed.
            InvalidArgumentError: a path does not resolve, or the result breaks a limit.
        """
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
        """Change 1 to 1,000 different records: all or none, or each independently with `allow_partial`.

            results = await client.batch_patch_content("movies", [Patch("m-1", {"Rating": 8.5})], allow_partial=True)
            failed = [each.error for each in results if each.error]

        The results are in the order of the patches. Pass their `commit_id` to `revert` to undo the batch.

        Raises:
            DraftlineError: without `allow_partial`, the error of a patch that failed, as
                `patch_content` raises it.
        """
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

    def bulk_writer(
        self,
        *,
        max_pending: int = 1_000,
        max_pending_bytes: int = 8 << 20,
        on_error: Callable[[BulkFailure], object] | None = None,
        tenant_id: str | None = None,
    ) -> AsyncBulkWriter:
        """Write many records over one stream, without waiting for each outcome.

            async with client.bulk_writer() as writer:
                await writer.create("movies", {"Title": "Brazil"}, record_id="m-3")
                await writer.patch("movies", "m-1", {"Rating": 8.5})
                await writer.delete("movies", "m-2")

        Args:
            max_pending: the number of writes that may be without an outcome; adding another one waits.
            max_pending_bytes: the same in bytes; a single larger write is sent by itself.
            on_error: called with each `BulkFailure`. None: the failures are raised at the end of the block.
        """
        return AsyncBulkWriter(
            self,
            self._tenant(tenant_id),
            max_pending=max_pending,
            max_pending_bytes=max_pending_bytes,
            on_error=on_error,
        )

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
        """Delete a record; `undelete_content` restores it. The arguments are those of `patch_content`.

            await client.delete_content("movies", "m-1", condition='owner = "ada"')

        Returns the record with its `delete_time`; None if it does not exist and `allow_missing` is set.

        Raises:
            NotFoundError, VersionMismatchError, ConditionNotMetError: as `patch_content`.
        """
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
        """Restore a deleted record.

            await client.delete_content("movies", "m-1")
            restored = await client.undelete_content("movies", "m-1")
            print(restored.version)  # 3

        Raises:
            NotFoundError: there is no such record, deleted or not.
            AlreadyExistsError: the record is not deleted.
            InvalidArgumentError: the content violates the collection's current spec.
            VersionMismatchError: the record is not at `expected_version`.
        """
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
        """Permanently remove deleted records, with their changes and all drafts of them. This cannot be undone.

            await client.delete_content("movies", "m-1")
            purged = await client.purge_content("movies", ["m-1"])
            print(purged.record_ids)  # ('m-1',)

        One call removes one batch; repeat it while `remaining_count` is above 0. It requires the
        permission `content:purge`.

        Args:
            record_ids: up to 1,000 ids; unknown ids are ignored. Empty: any record, with `deleted_before`.
            deleted_before: only records deleted before this aware time, oldest deletions first. None: at any time.
            limit: the maximum number of records to remove; 0: 1,000, which is the maximum.
            validate_only: returns what would be removed, without removing it.
            change_reason: stored with the log entry of each record.

        Raises:
            FailedPreconditionError: a named record is not deleted; nothing was removed.
            AbortedError: a record was deleted so recently that older writes are still running; nothing
                was removed.
        """
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
