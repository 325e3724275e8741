"""Drafts: one user's pending edits, and the results of saving and committing them.

A delta is translated to an edit that can be applied to any content and composed with
other edits. migrations/sql/0002_drafts.sql documents the format of edits; its functions
compose and apply them while the rows are locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from .content import Json
from .edits import Operation, Strategy
from .errors import DraftlineError
from .records import Record
from .sync_records import SyncRecord
from .values import value_class

ATTRIBUTES = ("parent_id", "position")
ATTRIBUTE_PREFIX = "record."  # prefix of a conflict's path; a path into the content begins with a slash
MAX_SELECTED = 10_000  # drafts in one commit or discard


class DraftKind(StrEnum):
    CHANGE = "CHANGE"
    CREATE = "CREATE"
    DELETE = "DELETE"


class ConflictKind(StrEnum):
    VALUE = "VALUE"
    DELETED = "DELETED"
    CREATED = "CREATED"
    CHANGED = "CHANGED"


class ConflictPolicy(StrEnum):
    REJECT = "REJECT"
    KEEP_MINE = "KEEP_MINE"
    KEEP_THEIRS = "KEEP_THEIRS"


@value_class
class Conflict:
    """A path at which base, mine and theirs differ. The values are JSON texts; None means that the value is absent.

    The path is a JSON Pointer into the content, or names an attribute: `record.parent_id`, `record.position`.
    """

    collection: str
    record_id: str
    kind: ConflictKind
    path: str
    base: str | None
    mine: str | None
    theirs: str | None
    version: int = 0  # the record version that `theirs` was read from


@value_class
class ChangeByDelta:
    """An edit built by `edit_of_delta`."""

    edit: Json


@value_class
class ChangeByOperations:
    steps: Sequence[Operation]


@value_class
class Creation:
    """A drafted creation; `json` is the JSON text of the new record's content."""

    json: str


@value_class
class Deletion:
    pass


@value_class
class DraftEdit:
    record_id: str
    action: ChangeByDelta | ChangeByOperations | Creation | Deletion
    expected_draft_version: int | None = None
    base_version: int | None = None
    replace: bool = False
    attributes: Mapping[str, str | int | None] = field(default_factory=dict)  # the ATTRIBUTES that it sets
    allow_deleted: bool = False


@value_class
class MergedRecord:
    """A record with the caller's draft applied. `draft_kind` is None if there is no draft.

    The record's content is the merged content, or an empty string if content was not requested.
    """

    record: Record
    draft_kind: DraftKind | None = None
    draft_version: int = 0
    modified_fields: Sequence[str] = ()
    modified_by: str = ""
    modified_at: datetime | None = None
    session_id: str = ""
    change_reason: str = ""
    conflicts: Sequence[Conflict] = ()
    modified_attributes: Sequence[str] = ()
    sync: SyncRecord | None = None  # None: the collection belongs to no sync


@value_class
class SaveResult:
    """The result of one edit. Both fields are None if the edit removed a drafted creation."""

    merged: MergedRecord | None = None
    error: DraftlineError | None = None


@value_class
class Selection:
    """A selection of the caller's drafts: by record (with expected versions), by session, or all."""

    expected_versions: dict[str, int | None] | None = None
    session_id: str | None = None


@value_class
class CommitResult:
    record_id: str
    record: Record | None = None
    changed_fields: Sequence[str] = field(default_factory=tuple)
    conflicts: Sequence[Conflict] = ()
    error: DraftlineError | None = None
    written: bool = False
    changed_attributes: Sequence[str] = ()


class Side(StrEnum):
    MINE = "MINE"
    THEIRS = "THEIRS"


@value_class
class Resolution:
    """A user's resolution of a conflict: a side, or a value if `side` is None.

    `version` is the record version that the user saw.
    """

    record_id: str
    path: str
    version: int
    side: Side | None = None
    value: Json = None


def edit_of_delta(delta: dict[str, Json], strategy: Strategy, depth: int = 0) -> Json:
    """Return the edit that has the same effect on any content as merging the delta."""
    if strategy is Strategy.REPLACE:
        return {"v": delta}
    if strategy is Strategy.SHALLOW:
        return {"s": delta}
    return _node(delta, strategy, depth)


def _node(delta: dict[str, Json], strategy: Strategy, depth: int) -> Json:
    sets: dict[str, Json] = {}
    removals: list[str] = []
    merges: dict[str, Json] = {}
    for key, value in delta.items():
        if value is None and strategy is Strategy.MERGE_PATCH:
            removals.append(key)
        elif isinstance(value, dict) and depth != 1:
            merges[key] = _node(value, strategy, max(depth - 1, 0))
            if not merges[key].keys() & {"s", "m"}:
                merges[key]["o"] = True  # merging creates an object even if it adds no keys to it
        else:
            sets[key] = value
    return {name: part for name, part in (("s", sets), ("r", removals), ("m", merges)) if part}
