"""Models of records, patches and imports: frozen dataclasses, and enums whose values are plain strings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from draftline.models.names import StrategyName
from draftline.models.relations import RelatedIds
from draftline.models.str_enum import StrEnum
from draftline.operations import Operation

if TYPE_CHECKING:
    from draftline.models.drafts import FieldWarning, MergedRecord

ResultT = TypeVar("ResultT")


class Unset(Enum):
    """The type of `UNSET`, which means "not given" where None is a valid value."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET


class MergeStrategy(StrEnum):
    """The strategy by which a delta is merged into content. The plain string is accepted as well: `"deep"`."""

    SHALLOW = "shallow"  # top-level keys are replaced, null is stored, nothing is deleted
    DEEP = "deep"  # objects are merged key by key down to `depth` levels, null is stored
    MERGE_PATCH = "merge_patch"  # RFC 7396: recursive, null deletes the key
    REPLACE = "replace"  # the delta becomes the content


class ImportMode(StrEnum):
    """The treatment of existing records by an import."""

    UPSERT = "upsert"  # creates and replaces records; others are unchanged
    SNAPSHOT = "snapshot"  # the same, and deletes records that the import does not contain


class Results(list[ResultT]):
    """A list of the results of a call.

    Attributes:
        commit_id: the id of everything that the call wrote: `changes` can filter by it, and
            `revert` undoes it. Empty if nothing was written, and for a discard.
        selected_count: the number of drafts that a commit or a discard selected; None for other calls.
    """

    def __init__(self, results: Iterable[ResultT], commit_id: str, selected_count: int | None = None) -> None:
        super().__init__(results)
        self.commit_id = commit_id
        self.selected_count = selected_count


@dataclass(frozen=True)
class Record:
    """One record. Times are aware, in UTC."""

    tenant_id: str
    collection: str
    record_id: str
    content: dict[str, Any]  # or only the top-level keys requested by `fields`
    version: int  # starts at 1, incremented whenever the record actually changes
    parent_id: str | None
    position: int | None
    create_time: datetime
    created_by: str
    update_time: datetime
    updated_by: str
    delete_time: datetime | None  # None for a live record
    # The relations that `expand` followed from the record, by their names.
    relations: Mapping[str, RelatedIds] = field(default_factory=dict)
    # The related records of the same response, by collection and id.
    included: Mapping[tuple[str, str], MergedRecord] = field(default_factory=dict, repr=False, compare=False)

    def related(self, relation: str) -> list[MergedRecord]:
        """Return the records to which a relation leads, in its order.

            film = client.get_content("movies", "m-1", expand=["children"])
            print([each.content for each in film.related("children")])

        Raises:
            KeyError: the call did not request the relation of this record by `expand`.
        """
        found = self.relations.get(relation)
        if found is None:
            raise KeyError(f"the relation {relation!r} was not read: request it by expand=[{relation!r}]")
        return [self.included[found.collection, each] for each in found.record_ids]


@dataclass(frozen=True)
class Patch:
    """One patch of a batch: the arguments of `patch_content`, with the same meaning.

        rated = Patch("m-1", {"Rating": 8.5}, expected_version=1)
        counted = Patch("m-2", operations=[op.increment("/Votes")])
        client.batch_patch_content("movies", [rated, counted])

    Set either `delta` or `operations`, or neither to change only `parent_id` or `position`.
    """

    record_id: str
    delta: Mapping[str, Any] | None = None
    operations: Iterable[Operation] | None = field(default=None, kw_only=True)
    strategy: MergeStrategy | StrategyName | None = field(default=None, kw_only=True)
    depth: int = field(default=0, kw_only=True)
    expected_version: int | None = field(default=None, kw_only=True)
    condition: str = field(default="", kw_only=True)
    allow_missing: bool = field(default=False, kw_only=True)
    allow_deleted: bool = field(default=False, kw_only=True)
    parent_id: str | Unset | None = field(default=UNSET, kw_only=True)
    position: int | None = field(default=None, kw_only=True)
    fields: Iterable[str] = field(default=(), kw_only=True)
    collection: str | None = field(default=None, kw_only=True)  # None: the batch's


@dataclass(frozen=True)
class PatchResult:
    """The result of a patch."""

    record: Record
    changed_fields: tuple[str, ...]  # top-level keys whose values differ, in code point order
    warnings: tuple[FieldWarning, ...] = ()  # fields in `condition` that the collection does not seem to have


@dataclass(frozen=True)
class BatchResult:
    """The result of one patch of a batch: exactly one of `result` and `error` is set."""

    result: PatchResult | None = None
    error: Exception | None = None
    warnings: tuple[FieldWarning, ...] = ()  # those of the result; also where the condition was not met

    def unwrap(self) -> PatchResult:
        """Return the result, or raise the error."""
        if self.result is None:
            raise self.error or ValueError("the batch result has neither a result nor an error")
        return self.result


@dataclass(frozen=True)
class PurgeResult:
    """The result of a purge, which is permanent."""

    record_ids: tuple[str, ...]  # the removed records, in code point order
    draft_count: int  # removed drafts of these records, of all users
    remaining_count: int  # selected records that are not purged yet: call again


@dataclass(frozen=True)
class ImportRecord:
    """One record of an import. A pair of record id and content is enough if the other fields are not needed.

        egg = draftline.ImportRecord("s-1", {"Title": "The egg"}, parent_id="m-1", position=1)
        client.import_content("scenes", [egg])

    Errors about the record begin with `source`, such as "line 3".
    """

    record_id: str
    content: Mapping[str, Any]
    parent_id: str | None = None
    position: int | None = None
    source: str = ""  # its origin, such as "line 3", which errors about it name; not stored


@dataclass(frozen=True)
class ImportResult:
    """The numbers of records that an import affected."""

    inserted_count: int
    updated_count: int  # changed, or restored from deletion
    unchanged_count: int  # already identical; their versions are unchanged
    deleted_count: int  # not contained in the snapshot
    commit_id: str = ""  # the id of everything written, for `revert`; empty if nothing was written


@dataclass(frozen=True)
class BulkProgress:
    """The number of writes of a bulk writer."""

    pending: int  # without an outcome yet
    succeeded: int
    failed: int


@dataclass(frozen=True)
class BulkFailure:
    """A write of a bulk writer that failed."""

    collection: str
    record_id: str  # empty: of a creation, for which the service was to generate the id
    error: Exception  # a DraftlineError, or what the function that returns the token raised


@dataclass(frozen=True)
class MatchResult:
    """The result of a write of all records that match a filter, or of its preview."""

    matched_count: int
    changed_count: int  # patched or deleted; in a preview of a patch, that would be changed
    unchanged_count: int  # the patch changes nothing
    skipped_count: int  # no longer matched when they were to be written
    record_ids: tuple[str, ...]  # of all records that matched, in code point order
    commit_ids: tuple[str, ...] = ()  # of the batches of patches, for `revert`
    failures: tuple[BulkFailure, ...] = ()  # the others
