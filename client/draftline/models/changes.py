"""Models of the change log: frozen dataclasses, and enums whose values are plain strings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from draftline.errors import DraftlineError
from draftline.models.drafts import Conflict, MergedRecord
from draftline.models.records import Record
from draftline.models.str_enum import StrEnum


class ChangeKind(StrEnum):
    """The effect of a change on its record."""

    CREATE = "create"
    UPDATE = "update"  # of its content or its attributes
    DELETE = "delete"  # its content is unchanged
    UNDELETE = "undelete"  # its content may have changed as well
    PURGE = "purge"  # permanently removed with all its changes; versions start at 1 again


class ChangeSource(StrEnum):
    """The call that wrote a change."""

    CREATE_CONTENT = "create_content"
    PATCH_CONTENT = "patch_content"
    BATCH_PATCH_CONTENT = "batch_patch_content"
    DELETE_CONTENT = "delete_content"
    UNDELETE_CONTENT = "undelete_content"
    IMPORT_CONTENT = "import_content"
    COMMIT = "commit"
    REVERT_CHANGE = "revert_change"
    PURGE_CONTENT = "purge_content"
    SYNC_PULL = "sync_pull"  # a sync merged what it read at the system of record
    SYNC_RESOLVE = "sync_resolve"


@dataclass(frozen=True)
class PathChange:
    """One path of the content that a change edited. `UNSET` means that there is no value."""

    path: str  # a JSON Pointer into the content; empty for the whole content, as in a creation
    old_value: Any
    new_value: Any


@dataclass(frozen=True)
class AttributeChange:
    """One attribute of the record that a change set. None means that there is no value."""

    name: str  # "parent_id" or "position"
    old_value: str | int | None
    new_value: str | int | None


@dataclass(frozen=True)
class Change:
    """One entry of the log. `collection`, `record_id` and `version` identify it. Times are aware, in UTC."""

    tenant_id: str
    collection: str
    record_id: str
    version: int  # of the record after the change
    kind: ChangeKind
    source: ChangeSource
    paths: tuple[PathChange, ...]  # disjoint, in code point order; empty if the content is unchanged
    values_omitted: bool  # `paths` has no values: not stored, or not requested
    attributes: tuple[AttributeChange, ...]
    user_id: str
    session_id: str  # of the draft that was committed; empty: none
    commit_id: str  # the batch, import, commit or revert that wrote it; empty: a call on one record
    change_reason: str
    request_id: str
    create_time: datetime


class MergedChange(NamedTuple):
    """A record whose merged form may have changed for the caller."""

    record_id: str
    record: MergedRecord | None  # its current state; None: it is not, or no longer, in the view


@dataclass(frozen=True)
class RevertResult:
    """The result for one record: `error` is the reason that its change was not reverted."""

    collection: str
    record_id: str
    record: Record | None = None  # its current state; its content is empty unless requested
    changed_fields: tuple[str, ...] = ()  # top-level keys whose values differ, in code point order
    conflicts: tuple[Conflict, ...] = ()  # those that the policy resolved, or that blocked the revert
    error: DraftlineError | None = None

    def unwrap(self) -> Record | None:
        """Return the current record, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.record
