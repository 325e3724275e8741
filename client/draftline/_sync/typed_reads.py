# Generated from draftline/_async/typed_reads.py by `make generate`; never edited.
"""The reads of a typed collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic

from draftline._core import change_calls
from draftline._core.methods import mapped
from draftline._core.model_adapters import ModelT
from draftline._core.typed_records import TypedRecords
from draftline._core.watch_state import DEFAULT_SILENCE_S
from draftline._sync.watch import Watch
from draftline.models import (
    UNSET,
    Change,
    TypedChange,
    TypedPage,
    TypedRecord,
    Unset,
    View,
    ViewName,
)

if TYPE_CHECKING:
    from draftline._sync.client import Client


class TypedReads(Generic[ModelT]):
    def __init__(self, client: Client, collection: str, model: type[ModelT], tenant_id: str | None) -> None:
        self._client = client
        self._collection = collection
        self._tenant_id = tenant_id
        self._records: TypedRecords[ModelT] = TypedRecords(model)

    def get(
        self,
        record_id: str,
        *,
        show_deleted: bool = False,
        expand: Iterable[str] = (),
        expand_limit: int = 0,
        included_fields: Iterable[str] = (),
        timeout: float | Unset | None = UNSET,
    ) -> TypedRecord[ModelT]:
        """Read a record, as `get_content`."""
        record = self._client.get_content(
            self._collection,
            record_id,
            show_deleted=show_deleted,
            expand=expand,
            expand_limit=expand_limit,
            included_fields=included_fields,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        return self._records.record(record)

    def batch_get(
        self,
        record_ids: Iterable[str],
        *,
        show_deleted: bool = False,
        allow_missing: bool = False,
        timeout: float | Unset | None = UNSET,
    ) -> dict[str, TypedRecord[ModelT]]:
        """Read 1 to 1,000 records as they were at one moment, as `batch_get_content`."""
        found = self._client.batch_get_content(
            self._collection,
            record_ids,
            show_deleted=show_deleted,
            allow_missing=allow_missing,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        return {record_id: self._records.record(record) for record_id, record in found.items()}

    def records(
        self,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        record_ids: Iterable[str] = (),
        session_id: str = "",
        view: View | ViewName = View.MERGED,
        show_deleted: bool = False,
        strict_fields: bool = False,
        expand: Iterable[str] = (),
        expand_limit: int = 0,
        included_fields: Iterable[str] = (),
        timeout: float | Unset | None = UNSET,
    ) -> Iterator[TypedRecord[ModelT]]:
        """Iterate over records with the caller's drafts applied, as `get_merged`."""
        records = self._client.get_merged(
            self._collection,
            filter=filter,
            order_by=order_by,
            page_size=page_size,
            record_ids=record_ids,
            session_id=session_id,
            view=view,
            show_deleted=show_deleted,
            strict_fields=strict_fields,
            expand=expand,
            expand_limit=expand_limit,
            included_fields=included_fields,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        for each in records:
            yield self._records.merged(each)

    def page(
        self,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
        session_id: str = "",
        view: View | ViewName = View.MERGED,
        show_deleted: bool = False,
        include_total_size: bool = False,
        strict_fields: bool = False,
        expand: Iterable[str] = (),
        expand_limit: int = 0,
        included_fields: Iterable[str] = (),
        timeout: float | Unset | None = UNSET,
    ) -> TypedPage[ModelT]:
        """Fetch one page of the list, as `get_merged_page`."""
        page = self._client.get_merged_page(
            self._collection,
            filter=filter,
            order_by=order_by,
            page_size=page_size,
            page_token=page_token,
            session_id=session_id,
            view=view,
            show_deleted=show_deleted,
            include_total_size=include_total_size,
            strict_fields=strict_fields,
            expand=expand,
            expand_limit=expand_limit,
            included_fields=included_fields,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        return self._records.page(page)

    def stream(
        self,
        *,
        filter: str = "",
        order_by: str = "",
        session_id: str = "",
        view: View | ViewName = View.MERGED,
        show_deleted: bool = False,
        strict_fields: bool = False,
        expand: Iterable[str] = (),
        expand_limit: int = 0,
        included_fields: Iterable[str] = (),
        timeout: float | None = None,
    ) -> Iterator[TypedRecord[ModelT]]:
        """Iterate over the list in one streaming call, as `stream_merged`."""
        records = self._client.stream_merged(
            self._collection,
            filter=filter,
            order_by=order_by,
            session_id=session_id,
            view=view,
            show_deleted=show_deleted,
            strict_fields=strict_fields,
            expand=expand,
            expand_limit=expand_limit,
            included_fields=included_fields,
            tenant_id=self._tenant_id,
            timeout=timeout,
        )
        for each in records:
            yield self._records.merged(each)

    def watch(
        self,
        *,
        filter: str = "",
        resume_token: str = "",
        omit_values: bool = False,
        silence_s: float = DEFAULT_SILENCE_S,
    ) -> Watch[Change]:
        """Watch the changes of the collection, as `watch` of the client. Changes have paths and values, not models."""
        return self._client.watch(
            self._collection,
            filter=filter,
            resume_token=resume_token,
            omit_values=omit_values,
            silence_s=silence_s,
            tenant_id=self._tenant_id,
        )

    def watch_merged(
        self,
        *,
        filter: str = "",
        resume_token: str = "",
        silence_s: float = DEFAULT_SILENCE_S,
    ) -> Watch[TypedChange[ModelT]]:
        """Watch the records of the list with models, with the caller's drafts applied, as `watch_merged`.

        A content that does not fit the model does not end the watch: the change has the `error`.
        """
        call = change_calls.watch_merged(
            self._client._tenant(self._tenant_id), self._collection, filter=filter, resume_token=resume_token, fields=()
        )
        return Watch(self._client, mapped(call, self._records.changed), silence_s)
