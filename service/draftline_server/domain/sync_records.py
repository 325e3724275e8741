"""The sync states of records, as calls show them, and decisions of conflicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from .sync import SyncState
from .values import value_class


@value_class
class SyncConflict:
    """A path that was changed here and upstream. The values are JSON texts; None: absent."""

    kind: str
    path: str
    base: str | None
    mine: str | None
    theirs: str | None


@value_class
class SyncRecord:
    """The sync state of a record. `reason` and so on are those of the last refusal."""

    collection: str
    record_id: str
    state: SyncState
    version: int
    acked_version: int
    remote_id: str
    remote_version: str
    reason: str
    message: str
    field: str
    conflicts: Sequence[SyncConflict]
    tries: int
    next_at: datetime | None
    due_since: datetime | None
    in_doubt: bool

    @property
    def is_plain(self) -> bool:
        """True if only the state and the acknowledged version are to be shown."""
        return not (self.reason or self.conflicts or self.tries or self.next_at or self.due_since)


@value_class
class SyncEvent:
    event_id: int
    collection: str
    record_id: str
    kind: str
    reason: str
    message: str
    conflicts: Sequence[SyncConflict]
    created_at: datetime


@value_class
class CollectionCounts:
    """The records of a collection that are not synced."""

    collection: str
    committed: int
    syncing: int
    failed: int
    conflicts: int
    in_doubt: int
    oldest: datetime | None
    pulled_at: datetime | None
    snapshot_at: datetime | None


@value_class
class PushPreview:
    """The effect of a push on the records of a collection: their numbers and first ids, by kind.

    The kinds are those of the statement `preview` in store/sql/sync_push.sql.
    """

    collection: str
    counts: Mapping[str, int]
    record_ids: Mapping[str, Sequence[str]]
    awaits_snapshot: bool
    is_stopped: bool


@value_class
class CommitCounts:
    """The records of a commit, by their state. `due_since`: since when the oldest of them waits."""

    committed: int
    syncing: int
    failed: int
    conflicts: int
    synced: int
    due_since: datetime | None


@value_class
class Decision:
    """The decision of a conflict: one side, or a JSON text. `takes_theirs` is None if there is a value."""

    path: str
    takes_theirs: bool | None
    value: str | None = None
