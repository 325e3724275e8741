"""Models of drafts: frozen dataclasses, and enums whose values are plain strings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from draftline.errors import DraftlineError
from draftline.models.names import SideName, StrategyName
from draftline.models.records import UNSET, MergeStrategy, Record, Unset
from draftline.models.str_enum import StrEnum
from draftline.operations import Operation


class RecordState(StrEnum):
    """The state of a record between draft and baseline."""

    PRISTINE = "pristine"  # the caller has no draft of it
    DRAFT = "draft"  # the caller has one
    COMMITTED = "committed"  # written here, and waiting for the system of record of the collection
    SYNCING = "syncing"  # sent there; the outcome is not known yet
    SYNCED = "synced"  # acknowledged
    SYNC_ERROR = "sync_error"  # refused, or in conflict


class DraftKind(StrEnum):
    """The effect of a draft on its record."""

    CHANGE = "change"
    CREATE = "create"
    DELETE = "delete"


class ConflictKind(StrEnum):
    """The kind of a conflict between a draft and the baseline."""

    VALUE = "value"  # both changed the value at the path, to different values
    DELETED = "deleted"  # the draft changes a record that was deleted
    CREATED = "created"  # the draft creates a record that now exists
    CHANGED = "changed"  # the draft deletes a record that was changed


class View(StrEnum):
    """The view that a list shows. The plain string is accepted as well: `"drafts_only"`."""

    MERGED = "merged"  # the baseline with the caller's drafts applied
    BASELINE = "baseline"  # the baseline alone
    DRAFTS_ONLY = "drafts_only"  # only records with a draft of the caller, applied; including deletions


class Side(StrEnum):
    """The side whose value resolves a conflict between a draft and the baseline."""

    MINE = "mine"  # the draft's; a deleted record is restored
    THEIRS = "theirs"  # the baseline's


class ConflictPolicy(StrEnum):
    """The treatment of conflicts between drafts and the baseline by a commit."""

    REJECT = "reject"  # commits nothing, and returns the conflicts
    KEEP_MINE = "keep_mine"  # writes the draft's value; a deleted record is restored
    KEEP_THEIRS = "keep_theirs"  # keeps the baseline's value, and writes the rest of the draft


class Shortened(str):
    """The beginning of a value's JSON text, ending in "…": errors truncate long values."""

    __slots__ = ()


@dataclass(frozen=True)
class Conflict:
    """One path at which the values of base, mine and theirs all differ. `UNSET` means that there is no value.

    For a revert, base is the value after the change, mine the value before it, theirs the current value.
    """

    record_id: str
    kind: ConflictKind
    path: str  # a JSON Pointer into the content, empty for the whole; or "record.parent_id", "record.position"
    base: Any  # the baseline's value when the path was first edited
    mine: Any  # the draft's value
    theirs: Any  # the baseline's current value
    collection: str = ""
    version: int = 0  # the version of the record that `theirs` was read from
    _collected: list[Resolution] | None = field(default=None, repr=False, compare=False)

    def resolve(self, side: Side | SideName | None = None, *, value: Any = UNSET) -> Resolution:
        """Resolve the conflict with "mine", "theirs" or a `value`: `error.conflicts[0].resolve("theirs")`.

        Returns the resolution, for `commit`. If the conflict belongs to an error, the resolution is also added
        to the error's `resolutions`, replacing an earlier one of the same path.
        """
        if (side is None) is (value is UNSET):
            raise ValueError('set exactly one of side ("mine" or "theirs") and value')
        resolution = Resolution(self.record_id, self.path, self.version, None if side is None else Side(side), value)
        if self._collected is not None:
            same = [each for each in self._collected if (each.record_id, each.path) == (self.record_id, self.path)]
            for each in same:
                self._collected.remove(each)
            self._collected.append(resolution)
        return resolution


@dataclass(frozen=True)
class Resolution:
    """The resolution of a conflict. Created by `Conflict.resolve`.

    `value` applies if `side` is None. If the record was changed at the path since `version`, the conflict is
    open again.
    """

    record_id: str
    path: str
    version: int  # of the record that the decision is based on
    side: Side | None = None
    value: Any = UNSET


@dataclass(frozen=True)
class SyncInfo:
    """The state of a record at the system of record of its collection."""

    state: RecordState
    reason: str  # of a sync_error; empty: none
    message: str
    field: str  # the path that the upstream refused: a JSON Pointer; empty: not known
    conflicts: tuple[Conflict, ...]  # `mine` is the value here, `theirs` that of the upstream
    attempts: int  # how often the write was sent without a known outcome
    next_attempt_time: datetime | None
    due_since: datetime | None
    acknowledged_version: int  # the newest that the upstream has acknowledged; 0: none


@dataclass(frozen=True)
class MergedRecord:
    """A record with the caller's draft applied. Times are aware, in UTC."""

    record: Record  # with the merged content; for a drafted creation the version is 0
    state: RecordState
    draft_kind: DraftKind | None = None  # None without a draft
    draft_version: int = 0  # starts at 1, incremented by every save; 0: no draft
    modified_fields: tuple[str, ...] = ()  # top-level keys that differ from the baseline, in code point order
    modified_by: str = ""  # the caller, who owns the draft
    modify_time: datetime | None = None  # when the draft was last saved
    session_id: str = ""
    change_reason: str = ""
    conflicts: tuple[Conflict, ...] = ()  # those that a commit would have now, at most 100
    modified_attributes: tuple[str, ...] = ()  # "parent_id" and "position", where they differ from the baseline's
    sync: SyncInfo | None = None  # None: the collection belongs to no sync, or the record exists only as a draft

    @property
    def record_id(self) -> str:
        return self.record.record_id

    @property
    def content(self) -> dict[str, Any]:
        """The merged content, or only the top-level keys requested by `fields`."""
        return self.record.content

    def related(self, relation: str) -> list[MergedRecord]:
        """Return the records to which a relation leads, as `Record.related` does."""
        return self.record.related(relation)


@dataclass(frozen=True)
class DraftUser:
    """A user that has drafts.

    Attributes:
        draft_count: the user's drafts; at least 1.
        collection_count: collections with drafts of the user.
        oldest_create_time: the time at which the oldest of these drafts was first saved.
        newest_modify_time: the time at which one of these drafts was last saved.
    """

    user_id: str
    draft_count: int
    collection_count: int
    oldest_create_time: datetime
    newest_modify_time: datetime


@dataclass(frozen=True)
class FieldWarning:
    """A field that a list or a condition names although the collection does not seem to have it."""

    argument: str  # "filter", "order_by", "fields" or "condition"
    name: str  # as a filter writes it
    suggestion: str  # the most similar known field; empty: none is similar
    message: str


@dataclass(frozen=True)
class MergedPage:
    """One page of a list."""

    records: tuple[MergedRecord, ...]
    next_page_token: str  # empty: this was the last page
    total_size: int | None  # of the whole list; None unless requested
    warnings: tuple[FieldWarning, ...] = ()  # of the first page
    # The related records that `expand` requested, each once, by collection and id.
    included: Mapping[tuple[str, str], MergedRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class DraftEdit:
    """One edit to save. At most one of `delta`, `operations`, `create` and `delete` defines its effect on the content.

        rated = DraftEdit("m-1", {"Rating": 9})
        created = DraftEdit("m-3", create={"Title": "Cube"})
        client.save_drafts("movies", [rated, created, DraftEdit("m-4", delete=True)], session_id="evening")

    The fields are the arguments of `save_draft`.
    """

    record_id: str
    delta: Mapping[str, Any] | None = None
    operations: Iterable[Operation] | None = field(default=None, kw_only=True)
    create: Mapping[str, Any] | None = field(default=None, kw_only=True)
    delete: bool = field(default=False, kw_only=True)
    strategy: MergeStrategy | StrategyName | None = field(default=None, kw_only=True)
    depth: int = field(default=0, kw_only=True)
    expected_draft_version: int | None = field(default=None, kw_only=True)
    base_version: int | None = field(default=None, kw_only=True)
    replace: bool = field(default=False, kw_only=True)
    parent_id: str | Unset | None = field(default=UNSET, kw_only=True)  # None: no parent
    position: int | Unset | None = field(default=UNSET, kw_only=True)  # None: no position
    allow_deleted: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class SaveResult:
    """The result of one edit: `error` is the reason that it was not saved.

    If both are None, the edit deleted a record that existed only as a draft, so no draft is left.
    """

    record: MergedRecord | None = None
    error: DraftlineError | None = None

    def unwrap(self) -> MergedRecord | None:
        """Return the record with the caller's draft applied, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.record


@dataclass(frozen=True)
class CommitResult:
    """The result for one draft: `error` is the reason that it was not committed."""

    record_id: str
    record: Record | None = None  # as written; its content is empty unless requested
    changed_fields: tuple[str, ...] = ()  # top-level keys whose values differ, in code point order
    conflicts: tuple[Conflict, ...] = ()  # those that were resolved, or with an error those that blocked the commit
    error: DraftlineError | None = None
    changed_attributes: tuple[str, ...] = ()  # "parent_id" and "position", where they differ

    def unwrap(self) -> Record | None:
        """Return the record as written, or raise the error. None: a creation of which nothing was written."""
        if self.error is not None:
            raise self.error
        return self.record
