"""Records with models of the caller's own classes, as the methods of a typed collection take and return them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from draftline.models.drafts import FieldWarning, MergedRecord
from draftline.models.records import Record

ModelT = TypeVar("ModelT")


@dataclass(frozen=True)
class TypedRecord(Generic[ModelT]):
    """A record whose content is a model. Edit the model, or replace it, and pass the record to `patch`.

    `content` stays as it was read. It has the keys that the model lacks, which a patch leaves unchanged.
    """

    model: ModelT
    record: Record
    unknown_keys: tuple[str, ...] = ()  # JSON Pointers to keys of the content that the model lacks
    merged: MergedRecord | None = field(default=None, repr=False)  # of lists and drafts: state, conflicts and so on

    @property
    def record_id(self) -> str:
        return self.record.record_id

    @property
    def version(self) -> int:
        return self.record.version

    @property
    def content(self) -> dict[str, Any]:
        """The content as it was read."""
        return self.record.content


@dataclass(frozen=True)
class TypedResult(Generic[ModelT]):
    """The result for one record of several: `error` is the reason that it was not written.

    If both are None, no record is left, as after a draft that deletes a drafted creation.
    """

    record: TypedRecord[ModelT] | None = None
    changed_fields: tuple[str, ...] = ()  # top-level keys whose values differ, in code point order
    error: Exception | None = None

    def unwrap(self) -> TypedRecord[ModelT] | None:
        """Return the record, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.record


@dataclass(frozen=True)
class TypedPage(Generic[ModelT]):
    """One page of a typed list."""

    records: tuple[TypedRecord[ModelT], ...]
    next_page_token: str  # empty: this was the last page
    total_size: int | None  # of the whole list; None unless requested
    warnings: tuple[FieldWarning, ...] = ()  # of the first page
    included: Mapping[tuple[str, str], MergedRecord] = field(default_factory=dict)
