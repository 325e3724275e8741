"""Drafts: one user's pending edits, and what becomes of them.

A delta becomes an edit that can be applied to any content and composed with others:
migrations/sql/0002_drafts.sql tells its form and does the rest, under the locks that
keep it true.
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
from .values import value_class

ATTRIBUTES = ("parent_id", "position")
ATTRIBUTE_PREFIX = "record."  # of the path of a conflict; a path into the content begins with a slash
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
    """A path on which base, mine and theirs differ: JSON texts, None for a value that is not there.

    The path is a JSON Pointer into the content, or that of an attribute: `record.parent_id`, `record.position`.
    """

    collection: str
    record_id: str
    kind: ConflictKind
    path: str
    base: str | None
    mine: str | None
    theirs: str | None
    version: int = 0  # of the record that `theirs` is of


@value_class
class ChangeByDelta:
    """An edit as `edit_of_delta` makes it."""

    edit: Json


@value_class
class ChangeByOperations:
    steps: Sequence[Operation]


@value_class
class Creation:
    """JSON text of the new record's content."""

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
    attributes: Mapping[str, str | int | None] = field(default_factory=dict)  # those of ATTRIBUTES that it sets
    allow_deleted: bool = False


@value_class
class MergedRecord:
    """A record with the caller's draft applied; `draft_kind` None without one.

    The record's content is the merged one, or empty text where it was not asked for.
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


@value_class
class SaveResult:
    """What one edit did; neither part for a drafted creation that is gone again."""

    merged: MergedRecord | None = None
    error: DraftlineError | None = None


@value_class
class Selection:
    """Which of the caller's drafts: of some records (with expected versions), of a session, or all."""

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
    """The decision of a conflict by a person who saw a version of the record: a side, or (`side` None) a value."""

    record_id: str
    path: str
    version: int
    side: Side | None = None
    value: Json = None


def edit_of_delta(delta: dict[str, Json], strategy: Strategy, depth: int = 0) -> Json:
    """The edit that does to any content what merging the delta would."""
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
                merges[key]["o"] = True  # a merge makes an object even where it puts nothing into it
        else:
            sets[key] = value
    return {name: part for name, part in (("s", sets), ("r", removals), ("m", merges)) if part}
