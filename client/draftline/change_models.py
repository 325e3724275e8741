"""What the calls on the change log take and give: frozen dataclasses and enums whose values are plain strings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from draftline.choices import Choice
from draftline.draft_models import Conflict, MergedRecord
from draftline.errors import DraftlineError
from draftline.models import Record


class ChangeKind(Choice):
    """What a change did to its record."""

    CREATE = "create"
    UPDATE = "update"  # of its content or its attributes
    DELETE = "delete"  # its content stays as it was
    UNDELETE = "undelete"  # its content may have changed with that
    PURGE = "purge"  # it was removed for good with all its changes; versions begin anew


class ChangeSource(Choice):
    """Which call wrote a change."""

    CREATE_CONTENT = "create_content"
    PATCH_CONTENT = "patch_content"
    BATCH_PATCH_CONTENT = "batch_patch_content"
    DELETE_CONTENT = "delete_content"
    UNDELETE_CONTENT = "undelete_content"
    IMPORT_CONTENT = "import_content"
    COMMIT = "commit"
    REVERT_CHANGE = "revert_change"
    PURGE_CONTENT = "purge_content"


@dataclass(frozen=True)
class PathChange:
    """One path of the content that a change edited. `UNSET` stands for a value that is not there."""

    path: str  # a JSON Pointer into the content; empty for the whole, as a creation has it
    old_value: Any
    new_value: Any


@dataclass(frozen=True)
class AttributeChange:
    """One of the record's own attributes that a change set. None: there was, or is, none."""

    name: str  # "parent_id" or "position"
    old_value: str | int | None
    new_value: str | int | None


@dataclass(frozen=True)
class Change:
    """One entry of the log. `collection`, `record_id` and `version` identify it. Times are aware, in UTC."""

    tenant_id: str
    collection: str
    record_id: str
    version: int  # that the record has since
    kind: ChangeKind
    source: ChangeSource
    paths: tuple[PathChange, ...]  # disjoint, in code point order; empty if the content stayed as it was
    values_omitted: bool  # the values of `paths` are not told: not kept, or not asked for
    attributes: tuple[AttributeChange, ...]
    user_id: str
    session_id: str  # of the draft that was committed; empty: none
    commit_id: str  # the batch, import, commit or revert that wrote it; empty: a call of one record
    change_reason: str
    request_id: str
    create_time: datetime


class MergedChange(NamedTuple):
    """A record whose merged form may have changed for the caller."""

    record_id: str
    record: MergedRecord | None  # as it is now; None: it is not in the view, or no longer


@dataclass(frozen=True)
class RevertResult:
    """What became of one record: `error` says why its change was not taken back."""

    collection: str
    record_id: str
    record: Record | None = None  # as it is now; its content is empty unless it was asked for
    changed_fields: tuple[str, ...] = ()  # top-level keys whose values really changed, in code point order
    conflicts: tuple[Conflict, ...] = ()  # what the policy settled, or what stands in the way
    error: DraftlineError | None = None

    def unwrap(self) -> Record | None:
        """The record as it is now, or raises the error."""
        if self.error is not None:
            raise self.error
        return self.record
