"""The change log: what was written, by whom, when and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from .drafts import Conflict
from .errors import DraftlineError
from .records import Actor, Record
from .values import value_class

MAX_REVERTED = 10_000  # changes taken back at once


class ChangeKind(StrEnum):
    """What a change did to its record."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    UNDELETE = "UNDELETE"
    PURGE = "PURGE"


class ChangeSource(StrEnum):
    """The rpc that wrote a change."""

    CREATE_CONTENT = "CREATE_CONTENT"
    PATCH_CONTENT = "PATCH_CONTENT"
    BATCH_PATCH_CONTENT = "BATCH_PATCH_CONTENT"
    DELETE_CONTENT = "DELETE_CONTENT"
    UNDELETE_CONTENT = "UNDELETE_CONTENT"
    IMPORT_CONTENT = "IMPORT_CONTENT"
    COMMIT = "COMMIT"
    REVERT_CHANGE = "REVERT_CHANGE"
    PURGE_CONTENT = "PURGE_CONTENT"


class History(StrEnum):
    """What the log keeps of a collection's changes: the values at the edited paths, or the paths alone."""

    VALUES = "VALUES"
    PATHS = "PATHS"


@value_class
class Write:
    """What the log tells of a write, whatever it writes. `commit_id` groups what one call wrote."""

    actor: Actor
    source: ChangeSource
    moment: datetime
    change_reason: str = ""
    commit_id: str = ""  # empty: none

    @property
    def request_id(self) -> str | None:
        return self.actor.request.request_id if self.actor.request is not None else None


@value_class
class PathChange:
    """One edited path of the content; the values are JSON text, None where there is nothing."""

    path: str
    old_value: str | None
    new_value: str | None


@value_class
class AttributeChange:
    """One attribute of the record that was set; the values are JSON text, None where there is nothing."""

    name: str
    old_value: str | None
    new_value: str | None


@value_class
class Change:
    """One entry of the log; collection, record and version identify it."""

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
    """What identifies a change."""

    collection: str
    record_id: str
    version: int


@value_class
class RevertResult:
    """What became of one record: as it is now, or why its change was not taken back."""

    collection: str
    record_id: str
    record: Record | None = None
    changed_fields: Sequence[str] = ()
    conflicts: Sequence[Conflict] = ()
    error: DraftlineError | None = None
    written: bool = False
