"""What the calls on drafts take and give: frozen dataclasses and enums whose values are plain strings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from draftline.choices import Choice
from draftline.errors import DraftlineError
from draftline.models import UNSET, MergeStrategy, Record, Unset
from draftline.op import Operation


class RecordState(Choice):
    """Where a record stands between draft and baseline."""

    PRISTINE = "pristine"  # the caller has no draft of it
    DRAFT = "draft"  # the caller has one
    COMMITTED = "committed"  # this and those below are for write-back, and not sent yet
    SYNCING = "syncing"
    SYNCED = "synced"
    SYNC_ERROR = "sync_error"


class DraftKind(Choice):
    """What a draft does to its record."""

    CHANGE = "change"
    CREATE = "create"
    DELETE = "delete"


class ConflictKind(Choice):
    """How a draft and the baseline disagree."""

    VALUE = "value"  # both changed the value at the path, to different values
    DELETED = "deleted"  # the draft changes a record that was deleted
    CREATED = "created"  # the draft creates a record that exists by now
    CHANGED = "changed"  # the draft deletes a record that was changed


class View(Choice):
    """What a list shows. Wherever one is taken, its string is too: `"drafts_only"`."""

    MERGED = "merged"  # the baseline with the caller's drafts applied
    BASELINE = "baseline"  # the baseline alone
    DRAFTS_ONLY = "drafts_only"  # the caller's drafts alone, applied; with those that delete


class Side(Choice):
    """Whose value is kept where a draft and the baseline disagree."""

    MINE = "mine"  # the draft's; a deleted record comes back
    THEIRS = "theirs"  # the baseline's


class ConflictPolicy(Choice):
    """What a commit does where a draft and the baseline disagree."""

    REJECT = "reject"  # commits nothing, and answers the conflicts
    KEEP_MINE = "keep_mine"  # writes the draft's value; a deleted record comes back
    KEEP_THEIRS = "keep_theirs"  # leaves the baseline's value, and writes the rest of the draft


class Shortened(str):
    """The beginning of a value's JSON text, ending in "…": an error has no room for a long one."""

    __slots__ = ()


@dataclass(frozen=True)
class Conflict:
    """One path on which base, mine and theirs all differ. `UNSET` stands for a value that is not there.

    For a revert, base is what the change left, mine what was there before it, theirs what is there now.
    """

    record_id: str
    kind: ConflictKind
    path: str  # a JSON Pointer into the content, empty for the whole; or "record.parent_id", "record.position"
    base: Any  # what the baseline held when the path was first edited
    mine: Any  # what the draft holds
    theirs: Any  # what the baseline holds now
    collection: str = ""
    version: int = 0  # of the record that `theirs` is of
    _collected: list[Resolution] | None = field(default=None, repr=False, compare=False)

    def resolve(self, side: Side | str | None = None, *, value: Any = UNSET) -> Resolution:
        """Decide the conflict for "mine", "theirs" or a `value`: `error.conflicts[0].resolve("theirs")`.

        Returns the resolution, for `commit`. That of a conflict of an error is also collected in the error's
        `resolutions`, in the place of an earlier one of the same path.
        """
        if (side is None) is (value is UNSET):
            raise ValueError('a conflict is decided either for a side ("mine", "theirs") or for a value')
        resolution = Resolution(self.record_id, self.path, self.version, None if side is None else Side(side), value)
        if self._collected is not None:
            same = [each for each in self._collected if (each.record_id, each.path) == (self.record_id, self.path)]
            for each in same:
                self._collected.remove(each)
            self._collected.append(resolution)
        return resolution


@dataclass(frozen=True)
class Resolution:
    """The decision of a person about a conflict. Made by `Conflict.resolve`.

    `value` counts where `side` is None. If the record was changed at the path since `version`, the conflict is
    open again.
    """

    record_id: str
    path: str
    version: int  # of the record that the person looked at
    side: Side | None = None
    value: Any = UNSET


@dataclass(frozen=True)
class MergedRecord:
    """A record with the caller's draft applied. Times are aware, in UTC."""

    record: Record  # with the merged content; for a drafted creation the version is 0
    state: RecordState
    draft_kind: DraftKind | None = None  # None without a draft
    draft_version: int = 0  # 1 at first, one more with every save; 0: no draft
    modified_fields: tuple[str, ...] = ()  # top-level keys that differ from the baseline, in code point order
    modified_by: str = ""  # the caller, whose draft it is
    modify_time: datetime | None = None  # when the draft was last saved
    session_id: str = ""
    change_reason: str = ""
    conflicts: tuple[Conflict, ...] = ()  # what a commit would meet as things are, at most 100
    modified_attributes: tuple[str, ...] = ()  # "parent_id" and "position", where they differ from the baseline's

    @property
    def record_id(self) -> str:
        return self.record.record_id

    @property
    def content(self) -> dict[str, Any]:
        """The merged content, or those of its top-level keys that `fields` asked for."""
        return self.record.content


@dataclass(frozen=True)
class MergedPage:
    """One page of a list."""

    records: tuple[MergedRecord, ...]
    next_page_token: str  # empty: this was the last page
    total_size: int | None  # of the whole list; None unless it was asked for


@dataclass(frozen=True)
class DraftEdit:
    """One edit to save. One of `delta`, `operations`, `create` and `delete` says what it does to the content, if any.

    edits = [DraftEdit("m-1", {"Rating": 9}), DraftEdit("m-3", create={"Title": "Cube"}), DraftEdit("m-4", delete=True)]
    client.save_drafts("movies", edits, session_id="evening")
    """

    record_id: str
    delta: Mapping[str, Any] | None = None
    operations: Iterable[Operation] | None = field(default=None, kw_only=True)
    create: Mapping[str, Any] | None = field(default=None, kw_only=True)
    delete: bool = field(default=False, kw_only=True)
    strategy: MergeStrategy | str | None = field(default=None, kw_only=True)
    depth: int = field(default=0, kw_only=True)
    expected_draft_version: int | None = field(default=None, kw_only=True)
    base_version: int | None = field(default=None, kw_only=True)
    replace: bool = field(default=False, kw_only=True)
    parent_id: str | Unset | None = field(default=UNSET, kw_only=True)  # None: no parent
    position: int | Unset | None = field(default=UNSET, kw_only=True)  # None: no place
    allow_deleted: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class SaveResult:
    """What one edit did: `error` says why it was not saved.

    Without either, it was a creation that is deleted again, of which no draft is left.
    """

    record: MergedRecord | None = None
    error: DraftlineError | None = None

    def unwrap(self) -> MergedRecord | None:
        """The record as the caller now sees it, or raises the error."""
        if self.error is not None:
            raise self.error
        return self.record


@dataclass(frozen=True)
class CommitResult:
    """What became of one draft: `error` says why it is a draft still."""

    record_id: str
    record: Record | None = None  # as written; its content is empty unless it was asked for
    changed_fields: tuple[str, ...] = ()  # top-level keys whose values really changed, in code point order
    conflicts: tuple[Conflict, ...] = ()  # what was settled, or with an error what stands in the way
    error: DraftlineError | None = None
    changed_attributes: tuple[str, ...] = ()  # "parent_id" and "position", where they really changed

    def unwrap(self) -> Record | None:
        """The record as written, or raises the error. None: a creation of which nothing was kept."""
        if self.error is not None:
            raise self.error
        return self.record
