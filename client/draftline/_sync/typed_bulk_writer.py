# Generated from draftline/_async/typed_bulk_writer.py by `make generate`; never edited.
"""Many writes of models over one stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic

from draftline._core import content_calls
from draftline._core.methods import mapped
from draftline._core.model_adapters import ModelT
from draftline._core.typed_records import TypedRecords
from draftline._sync.bulk_writer import BulkWriter
from draftline._threads.write_queue import WriteFuture
from draftline.models import BulkFailure, BulkProgress, Record, TypedRecord, TypedResult

if TYPE_CHECKING:
    from draftline._sync.client import Client


class TypedBulkWriter(Generic[ModelT]):
    """Sends many writes of models over one stream. Created by `TypedCollection.bulk_writer`.

        import dataclasses

        Movie = dataclasses.make_dataclass("Movie", [("Title", str)])
        movies = client.collection("movies", Movie)
        with movies.bulk_writer() as writer:
            for number in range(100):
                writer.create(Movie(f"Film {number}"), record_id=f"film-{number}")
        print(writer.progress.succeeded)  # 100

    Futures, limits, retries and failures are those of the bulk writer of the client. The result of a future has
    an `error` if the record was written but its content does not fit the model.
    """

    def __init__(
        self,
        client: Client,
        collection: str,
        records: TypedRecords[ModelT],
        tenant_id: str | None,
        *,
        max_pending: int,
        max_pending_bytes: int,
        on_error: Callable[[BulkFailure], object] | None,
    ) -> None:
        self._collection = collection
        self._records = records
        self._tenant_id = client._tenant(tenant_id)
        self._writer: BulkWriter = client.bulk_writer(
            max_pending=max_pending, max_pending_bytes=max_pending_bytes, on_error=on_error, tenant_id=tenant_id
        )

    @property
    def progress(self) -> BulkProgress:
        """The number of writes that are pending, succeeded and failed."""
        return self._writer.progress

    def patch(
        self,
        record: TypedRecord[ModelT],
        model: ModelT | None = None,
        *,
        expected_version: int | None = None,
        condition: str = "",
        validate_only: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
    ) -> WriteFuture[TypedResult[ModelT]]:
        """Queue the attributes that differ from the record as it was read. The arguments are those of `patch`."""
        call = content_calls.patch_content(
            self._tenant_id,
            self._collection,
            self._records.patch(record, model, expected_version=expected_version, condition=condition),
            validate_only=validate_only,
            change_reason=change_reason,
            request_id=request_id,
        )
        return self._writer._add(mapped(call, self._records.written))

    def create(
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
    ) -> WriteFuture[TypedResult[ModelT]]:
        """Queue the creation of a record. The arguments are those of `create`."""
        call = content_calls.create_content(
            self._tenant_id,
            self._collection,
            self._records.content(model),
            record_id=record_id,
            parent_id=parent_id,
            position=position,
            allow_deleted=allow_deleted,
            validate_only=validate_only,
            fields=(),
            change_reason=change_reason,
            request_id=request_id,
        )
        return self._writer._add(mapped(call, self._records.written))

    def delete(
        self,
        record_id: str,
        *,
        expected_version: int | None = None,
        condition: str = "",
        allow_missing: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
    ) -> WriteFuture[Record | None]:
        """Queue the deletion of a record. Its content is returned as it is, without a model."""
        return self._writer.delete(
            self._collection,
            record_id,
            expected_version=expected_version,
            condition=condition,
            allow_missing=allow_missing,
            change_reason=change_reason,
            request_id=request_id,
        )

    def flush(self) -> None:
        """Wait until every queued write has its outcome."""
        self._writer.flush()

    def close(self) -> None:
        """Wait until every queued write has its outcome, and end the stream, as `close` of the client's bulk writer."""
        self._writer.close()

    def __enter__(self) -> TypedBulkWriter[ModelT]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._writer.__exit__(kind, *rest)
