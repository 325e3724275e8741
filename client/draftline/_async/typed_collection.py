"""A collection whose contents are models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from draftline._async.typed_bulk_writer import AsyncTypedBulkWriter
from draftline._async.typed_drafts import TypedDrafts
from draftline._core.model_adapters import ModelT
from draftline.models import (
    UNSET,
    BulkFailure,
    ImportMode,
    ImportModeName,
    ImportRecord,
    ImportResult,
    Record,
    Results,
    TypedRecord,
    TypedResult,
    Unset,
)

if TYPE_CHECKING:
    pass


class AsyncTypedCollection(TypedDrafts[ModelT]):
    """A collection whose contents are models of one class. Created by `AsyncClient.collection`.

        import dataclasses

        Movie = dataclasses.make_dataclass("Movie", [("Title", str)])
        movies = client.collection("movies", Movie)
        film = await movies.get("m-1")
        film.model.Title = "Alien 3"
        print((await movies.patch(film)).content["Title"])  # Alien 3

    Methods raise `ModelMismatchError` if a content does not fit the model. The other arguments and errors are those of
    the client's methods. Keys of the content that the model lacks are listed in `unknown_keys` and kept by patches.
    """

    async def create(
        self,
        model: ModelT,
        *,
        record_id: str | None = None,
        parent_id: str | None = None,
        position: int | None = None,
        allow_deleted: bool = False,
        validate_only: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> TypedRecord[ModelT]:
        """Create a record, as `create_content`.

        Attributes without a value are left out: those that are UNSET, and those of a dataclass that are None by
        default.
        """
        record = await self._client.create_content(
            self._collection,
            self._records.content(model),
            record_id=record_id,
            parent_id=parent_id,
            position=position,
            allow_deleted=allow_deleted,
            validate_only=validate_only,
            change_reason=change_reason,
            request_id=request_id,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        return self._records.record(record)

    async def patch(
        self,
        record: TypedRecord[ModelT],
        model: ModelT | None = None,
        *,
        expected_version: int | None = None,
        condition: str = "",
        validate_only: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> TypedRecord[ModelT]:
        """Write the attributes that differ from the record as it was read, as `patch_content`.

        Other attributes, and keys that the model lacks, are not written, so changes of them by others are kept. Returns
        the record as it is then.

        Args:
            model: the edited model, if `record.model` was not edited itself, as with frozen classes.
            expected_version: `record.version` rejects the patch if anyone has written the record since. None: any.
        """
        result = await self._client.patch_content(
            self._collection,
            record.record_id,
            **self._records.changes(record, model),
            expected_version=expected_version,
            condition=condition,
            validate_only=validate_only,
            change_reason=change_reason,
            request_id=request_id,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        return self._records.record(result.record)

    async def batch_patch(
        self,
        records: Iterable[TypedRecord[ModelT]],
        *,
        check_versions: bool = False,
        allow_partial: bool = False,
        validate_only: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[TypedResult[ModelT]]:
        """Write the edited attributes of 1 to 1,000 records, as `batch_patch_content`.

        Args:
            check_versions: rejects a patch if anyone has written its record since it was read.
        """
        results = await self._client.batch_patch_content(
            self._collection,
            [self._records.patch(each, expected_version=each.version if check_versions else None) for each in records],
            allow_partial=allow_partial,
            validate_only=validate_only,
            change_reason=change_reason,
            request_id=request_id,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        return Results(map(self._records.patched, results), results.commit_id)

    async def delete(
        self,
        record_id: str,
        *,
        expected_version: int | None = None,
        allow_missing: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Record | None:
        """Delete a record, as `delete_content`. Its content is returned as it is, without a model."""
        return await self._client.delete_content(
            self._collection,
            record_id,
            expected_version=expected_version,
            allow_missing=allow_missing,
            change_reason=change_reason,
            request_id=request_id,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )

    async def undelete(
        self,
        record_id: str,
        *,
        expected_version: int | None = None,
        change_reason: str = "",
        request_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> TypedRecord[ModelT]:
        """Restore a deleted record, as `undelete_content`."""
        record = await self._client.undelete_content(
            self._collection,
            record_id,
            expected_version=expected_version,
            change_reason=change_reason,
            request_id=request_id,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        return self._records.record(record)

    async def import_models(
        self,
        models: Iterable[tuple[str, ModelT]],
        *,
        mode: ImportMode | ImportModeName = ImportMode.UPSERT,
        allow_empty: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> ImportResult:
        """Import pairs of id and model in one transaction, as `import_content`."""
        return await self._client.import_content(
            self._collection,
            (ImportRecord(record_id, self._records.content(model)) for record_id, model in models),
            mode=mode,
            allow_empty=allow_empty,
            change_reason=change_reason,
            request_id=request_id,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )

    def bulk_writer(
        self,
        *,
        max_pending: int = 1_000,
        max_pending_bytes: int = 8 << 20,
        on_error: Callable[[BulkFailure], object] | None = None,
    ) -> AsyncTypedBulkWriter[ModelT]:
        """Write many models over one stream, without waiting for each outcome, as `bulk_writer` of the client.

        from typing import TypedDict

        Movie = TypedDict("Movie", {"Title": str})
        async with client.collection("movies", Movie).bulk_writer() as writer:
            future = await writer.create({"Title": "Brazil"}, record_id="m-3")
            await writer.flush()
        print(future.result().unwrap().model["Title"])  # Brazil
        """
        return AsyncTypedBulkWriter(
            self._client,
            self._collection,
            self._records,
            self._tenant_id,
            max_pending=max_pending,
            max_pending_bytes=max_pending_bytes,
            on_error=on_error,
        )
