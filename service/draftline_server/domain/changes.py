"""The change log: each write with its author, time and reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from .drafts import Conflict
from .errors import DraftlineError
from .records import Actor, Record
from .values import value_class

MAX_REVERTED = 10_000  # changes reverted in one call


class ChangeKind(StrEnum):
    """The effect of a change on its record."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    UNDELETE = "UNDELETE"
    PURGE = "PURGE"


class ChangeSource(StrEnum):
    """The RPC that wrote a change, or the sync that pulled it."""

    CREATE_CONTENT = "CREATE_CONTENT"
    PATCH_CONTENT = "PATCH_CONTENT"
    BATCH_PATCH_CONTENT = "BATCH_PATCH_CONTENT"
    DELETE_CONTENT = "DELETE_CONTENT"
    UNDELETE_CONTENT = "UNDELETE_CONTENT"
    IMPORT_CONTENT = "IMPORT_CONTENT"
    COMMIT = "COMMIT"
    REVERT_CHANGE = "REVERT_CHANGE"
    PURGE_CONTENT = "PURGE_CONTENT"
    SYNC_PULL = "SYNC_PULL"
    SYNC_RESOLVE = "SYNC_RESOLVE"


class History(StrEnum):
    """The detail that the log stores of a collection's changes: values at the edited paths, or only the paths."""

    VALUES = "VALUES"
    PATHS = "PATHS"


@value_class
class Write:
    """The log attributes that are common to all writes of one call. `commit_id` groups these writes."""

    actor: Actor
    source: ChangeSource
    now: datetime
    change_reason: str = ""
    commit_id: str = ""  # empty if there is none

    @property
    def request_id(self) -> str | None:
        return self.actor.request.request_id if self.actor.request is not None else None


@value_class
class PathChange:
    """One edited path of the content. The values are JSON texts; None means that the path is absent."""

    path: str
    old_value: str | None
    new_value: str | None


@value_class
class AttributeChange:
    """One record attribute that was set. The values are JSON texts; None means that the attribute is absent."""

    name: str
    old_value: str | None
    new_value: str | None


@value_class
class Change:
    """One entry of the log, identified by collection, record and version."""

    collection: str
    record_id: str
    version: int
    kind: ChangeKind
    source: ChangeSource
    paths: Sequence[PathChange]
    values_omitted: bool
    attributes: Sequence[AttributeChange]
    user_id: str
    session_id: str
    commit_id: str
    change_reason: str
    request_id: str
    created_at: datetime


@value_class
class ChangeRef:
    """The key of a change."""

    collection: str
    record_id: str
    version: int


@value_class
class RevertResult:
    """The result for one record: its current state, or the reason why its change was not reverted."""

    collection: str
    record_id: str
    record: Record | None = None
    changed_fields: Sequence[str] = ()
    conflicts: Sequence[Conflict] = ()
    error: DraftlineError | None = None
    written: bool = False
