"""Conversion between records and typed records, for both clients."""

from __future__ import annotations

from typing import Any, Generic

from draftline._core.model_adapters import ModelAdapter, ModelT
from draftline._core.model_changes import changed_content, edit_of, same, unknown_keys
from draftline.errors import ModelMismatchError
from draftline.models import (
    BatchResult,
    CommitResult,
    DraftEdit,
    MergedChange,
    MergedPage,
    MergedRecord,
    Patch,
    PatchResult,
    Record,
    SaveResult,
    TypedChange,
    TypedPage,
    TypedRecord,
    TypedResult,
)


class TypedRecords(Generic[ModelT]):
    """Converts the records of one collection."""

    def __init__(self, model: type[ModelT]) -> None:
        self._adapter = ModelAdapter(model)

    def content(self, model: ModelT) -> dict[str, Any]:
        """Return the content of a new record. Raise ModelMismatchError if the model cannot be encoded."""
        return self._adapter.encode(model, is_new=True)

    def record(self, record: Record, merged: MergedRecord | None = None) -> TypedRecord[ModelT]:
        """Return a record with its model. Raise ModelMismatchError if the content does not fit."""
        model = self._adapter.decode(record.content, record.record_id)
        before = self._adapter.encode(model)
        unknown = tuple(unknown_keys(record.content, before))
        if same(before, record.content):
            before = record.content  # kept once
        return TypedRecord(model, record, unknown, merged, before, _typed)

    def merged(self, merged: MergedRecord) -> TypedRecord[ModelT]:
        return self.record(merged.record, merged)

    def page(self, page: MergedPage) -> TypedPage[ModelT]:
        records = tuple(map(self.merged, page.records))
        return TypedPage(records, page.next_page_token, page.total_size, page.warnings, page.included)

    def changes(self, record: TypedRecord[ModelT], model: ModelT | None = None) -> dict[str, Any]:
        """Return the arguments of a patch with the attributes that differ from the record as it was read.

        Raises:
            ModelMismatchError: the model cannot be encoded, or the edit of a list would lose keys.
        """
        before = record.before
        if before is None:
            before = self._adapter.encode(self._adapter.decode(record.content, record.record_id))
        after = self._adapter.encode(record.model if model is None else model)
        try:
            content = changed_content(record.content, before, after)
        except ValueError as error:
            raise ModelMismatchError(record.record_id, self._adapter.name, str(error)) from error
        return edit_of(record.content, content)

    def patch(
        self,
        record: TypedRecord[ModelT],
        model: ModelT | None = None,
        *,
        expected_version: int | None = None,
        condition: str = "",
    ) -> Patch:
        changes = self.changes(record, model)
        return Patch(record.record_id, **changes, expected_version=expected_version, condition=condition)

    def edit(self, record: TypedRecord[ModelT]) -> DraftEdit:
        return DraftEdit(record.record_id, **self.changes(record))

    def patched(self, result: BatchResult) -> TypedResult[ModelT]:
        return TypedResult(error=result.error) if result.result is None else self.written(result.result)

    def written(self, result: PatchResult | Record) -> TypedResult[ModelT]:
        if isinstance(result, Record):
            return self._done(result)
        return self._done(result.record, changed_fields=result.changed_fields)

    def changed(self, changes: list[MergedChange]) -> list[TypedChange[ModelT]]:
        """Return the changes that a watch received; those that do not fit the model have an error."""
        return [self._changed(each) for each in changes]

    def _changed(self, change: MergedChange) -> TypedChange[ModelT]:
        if change.record is None:
            return TypedChange(change.record_id)
        try:
            return TypedChange(change.record_id, self.merged(change.record))
        except ModelMismatchError as error:
            return TypedChange(change.record_id, error=error)

    def saved(self, result: SaveResult) -> TypedResult[ModelT]:
        if result.record is None:
            return TypedResult(error=result.error)
        return self._done(result.record.record, result.record)

    def committed(self, result: CommitResult) -> TypedResult[ModelT]:
        """Return the result of a commit; a record that it deletes has its last content."""
        if result.record is None:
            return TypedResult(None, result.changed_fields, result.error)
        return self._done(result.record, changed_fields=result.changed_fields)

    def _done(
        self, record: Record, merged: MergedRecord | None = None, changed_fields: tuple[str, ...] = ()
    ) -> TypedResult[ModelT]:
        """Return the result of a write that has succeeded, also if the content does not fit the model."""
        try:
            return TypedResult(self.record(record, merged), changed_fields)
        except ModelMismatchError as error:
            return TypedResult(changed_fields=changed_fields, error=error)


def _typed(merged: MergedRecord, model: type[Any]) -> TypedRecord[Any]:
    return TypedRecords(model).merged(merged)
