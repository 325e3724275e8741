"""Records with models of the caller's own classes, as the methods of a typed collection take and return them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from draftline.models.drafts import FieldWarning, MergedRecord
from draftline.models.records import Record

ModelT = TypeVar("ModelT")
RelatedT = TypeVar("RelatedT")


@dataclass(frozen=True)
class TypedRecord(Generic[ModelT]):
    """A record whose content is a model. Edit the model, or replace it, and pass the record to `patch`.

    `content` stays as it was read. It has the keys that the model lacks, which a patch leaves unchanged.
    """

    model: ModelT
    record: Record
    unknown_keys: tuple[str, ...] = ()  # JSON Pointers to keys of the content that the model lacks
    merged: MergedRecord | None = field(default=None, repr=False)  # of lists and drafts: state, conflicts and so on
    # The model as it was read, as JSON: what a patch compares the edited model with.
    before: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    # Converts a related record to one with a model.
    convert: Callable[[MergedRecord, type[Any]], TypedRecord[Any]] | None = field(
        default=None, repr=False, compare=False
    )

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

    def related(self, relation: str, model: type[RelatedT]) -> list[TypedRecord[RelatedT]]:
        """Return the records to which a relation leads, with models of another class, in the order of the relation.

            from typing import TypedDict

            Movie = TypedDict("Movie", {"Title": str})
            film = client.collection("movies", Movie).get("m-1", expand=["children"])
            print([each.model for each in film.related("children", Movie)])  # []

        Args:
            model: a class of models of the related collection, as for `client.collection`.

        Raises:
            KeyError: the call did not request the relation of this record by `expand`.
            ModelMismatchError: the content of a related record does not fit the model.
        """
        if self.convert is None:
            raise ValueError("the record was not read by a typed collection")
        return [self.convert(each, model) for each in self.record.related(relation)]


@dataclass(frozen=True)
class TypedChange(Generic[ModelT]):
    """A record whose merged form may have changed for the caller.

    If both are None, the record is not, or no longer, in the view.
    """

    record_id: str
    record: TypedRecord[ModelT] | None = None  # its current state
    error: Exception | None = None  # the content does not fit the model

    def unwrap(self) -> TypedRecord[ModelT] | None:
        """Return the record, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.record


@dataclass(frozen=True)
class TypedResult(Generic[ModelT]):
    """The result for one record of several: `error` is the reason that it was not written.

    A ModelMismatchError says that it was written, and does not fit the model.
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
