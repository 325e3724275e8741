"""What the client takes and gives: frozen dataclasses and enums whose values are plain strings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeVar

from draftline.choices import Choice
from draftline.errors import DraftlineError
from draftline.op import Operation

ResultT = TypeVar("ResultT")


class Unset(Enum):
    """The type of `UNSET`, which stands for "not given" where None has a meaning of its own."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET


class MergeStrategy(Choice):
    """How a delta is merged into content. Wherever one is taken, its string is too: `"deep"`."""

    SHALLOW = "shallow"  # top-level keys are replaced, null is stored, nothing is deleted
    DEEP = "deep"  # objects are merged key by key down to `depth` levels, null is stored
    MERGE_PATCH = "merge_patch"  # RFC 7396: recursive, null deletes the key
    REPLACE = "replace"  # the delta becomes the content


class ImportMode(Choice):
    """What an import does with the records that the collection already holds."""

    UPSERT = "upsert"  # creates and replaces; others stay as they are
    SNAPSHOT = "snapshot"  # the same, and records that the import does not hold are deleted


class FieldType(Choice):
    """The type by which a declared field is compared, sorted and indexed."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"


class OnTypeMismatch(Choice):
    """What becomes of a write of a value that a declared field of its type cannot hold."""

    ACCEPT = "accept"  # stored, and missing in comparisons and orders; `record.mistyped = true` finds it
    REFUSE = "refuse"  # InvalidArgumentError (TYPE_MISMATCH), whatever the call


class ChangeHistory(Choice):
    """What the change log keeps of a collection's changes."""

    VALUES = "values"  # the paths that a change edited, with their values before and after
    PATHS = "paths"  # the paths alone, which is smaller; such changes cannot be reverted


class IndexState(Choice):
    """How far an index is."""

    BUILDING = "building"  # reads are exact, but not yet fast
    READY = "ready"
    INVALID = "invalid"  # the build was cut off; put_collection builds it anew


class Results(list[ResultT]):
    """What a call did, result by result.

    Attributes:
        commit_id: what was written, as one: `changes` finds it, and `revert` takes it back.
            Empty if nothing was written, and for a discard.
        selected_count: how many drafts a commit or a discard selected; None for other calls.
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
    content: dict[str, Any]  # or those of its top-level keys that `fields` asked for
    version: int  # 1 at first, one more whenever the record really changes
    parent_id: str | None
    position: int | None
    create_time: datetime
    created_by: str
    update_time: datetime
    updated_by: str
    delete_time: datetime | None  # None for a live record


@dataclass(frozen=True)
class Patch:
    """One patch of a batch: the arguments of `patch_content`, with the same meaning.

        rated = Patch("m-1", {"Rating": 8.5}, expected_version=1)
        counted = Patch("m-2", operations=[op.increment("/Votes")])
        client.batch_patch_content("movies", [rated, counted])

    Either `delta` or `operations`, or neither to change `parent_id` or `position` alone.
    """

    record_id: str
    delta: Mapping[str, Any] | None = None
    operations: Iterable[Operation] | None = field(default=None, kw_only=True)
    strategy: MergeStrategy | str | None = field(default=None, kw_only=True)
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
    """What a patch did."""

    record: Record
    changed_fields: tuple[str, ...]  # top-level keys whose values really changed, in code point order


@dataclass(frozen=True)
class BatchResult:
    """What one patch of a batch did: exactly one of `result` and `error` is there."""

    result: PatchResult | None = None
    error: DraftlineError | None = None

    def unwrap(self) -> PatchResult:
        """The result, or raises the error."""
        if self.result is None:
            raise self.error or ValueError("a batch result holds a result or an error")
        return self.result


@dataclass(frozen=True)
class PurgeResult:
    """What a purge removed for good."""

    record_ids: tuple[str, ...]  # the records, in code point order
    draft_count: int  # drafts over them, of all users
    remaining_count: int  # deleted records that were asked for and are left: call again


@dataclass(frozen=True)
class ImportRecord:
    """One record of an import. A plain `(record_id, content)` does where there is no more to say.

    client.import_content("scenes", [draftline.ImportRecord("s-1", {"Title": "The egg"}, parent_id="m-1", position=1)])
    """

    record_id: str
    content: Mapping[str, Any]
    parent_id: str | None = None
    position: int | None = None
    source: str = ""  # where it is from, such as "line 3": errors about it say so; not stored


@dataclass(frozen=True)
class ImportResult:
    """What an import did, in records."""

    inserted_count: int
    updated_count: int  # changed, or brought back from deletion
    unchanged_count: int  # already so, their versions kept
    deleted_count: int  # not in a snapshot
    commit_id: str = ""  # what was written, as one: `revert` takes it back; empty if nothing was


@dataclass(frozen=True)
class DeclaredField:
    """A field whose type is known. It gets an index of its own."""

    path: str  # a JSON Pointer into the content: "/Major Genre"
    type: FieldType | str
    on_type_mismatch: OnTypeMismatch | str = OnTypeMismatch.ACCEPT


@dataclass(frozen=True)
class SortKey:
    """One key of an order. Null and missing come last in both directions."""

    path: str  # of a declared field
    descending: bool = False


@dataclass(frozen=True)
class DeclaredOrder:
    """An order that is kept in an index. Ties break on the record id."""

    keys: tuple[SortKey, ...]  # 1 to 4, the most significant first


@dataclass(frozen=True)
class CollectionIndex:
    """An index that a declaration asks for."""

    order: DeclaredOrder
    state: IndexState


@dataclass(frozen=True)
class Collection:
    """A collection and its declaration. Times are aware, in UTC; None if it was never declared."""

    tenant_id: str
    collection: str
    fields: tuple[DeclaredField, ...]
    orders: tuple[DeclaredOrder, ...]
    json_schema: dict[str, Any] | None
    version: int  # 1 at first, one more whenever the declaration changes; 0: never declared
    indexes: tuple[CollectionIndex, ...]
    create_time: datetime | None
    update_time: datetime | None
    history: ChangeHistory = ChangeHistory.VALUES
    # By the path of each declared field, how many records hold what it cannot; None if that was not asked for.
    mismatch_counts: dict[str, int] | None = None
