"""Models of syncs with systems of record: frozen dataclasses, and enums whose values are plain strings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from draftline.models.drafts import Conflict, SyncInfo
from draftline.models.str_enum import StrEnum


class SyncPolicy(StrEnum):
    """The decision of a path that was changed here and upstream."""

    HOLD = "hold"  # keep both until resolve_sync decides
    UPSTREAM_WINS = "upstream_wins"
    LOCAL_WINS = "local_wins"


class SyncDirection(StrEnum):
    """The direction in which a field is synchronized."""

    BOTH = "both"
    PUSH = "push"
    PULL = "pull"


class SyncRun(StrEnum):
    """The action of run_sync."""

    PUSH = "push"
    CHANGES = "changes"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class SyncField:
    """A field that is synchronized, by JSON Pointers."""

    path: str
    remote_path: str = ""  # at the upstream; empty: the same
    direction: SyncDirection = SyncDirection.BOTH
    type: str = ""  # "date", "number" or "enum", as the connector converts it; empty: no conversion
    format: str = ""  # of a date at the upstream
    values: Mapping[str, str] = field(default_factory=dict)  # of an enum at the upstream, by those here


@dataclass(frozen=True)
class SyncCollection:
    """A collection of a sync."""

    collection: str
    resource: str = ""  # its name at the upstream; empty: the same
    fields: tuple[SyncField, ...] = ()  # empty: the whole content
    policy: SyncPolicy = SyncPolicy.HOLD
    rules: Mapping[str, SyncPolicy | str] = field(default_factory=dict)  # policies by JSON Pointer


@dataclass(frozen=True)
class Sync:
    """A sync and its state. Times are aware, in UTC."""

    tenant_id: str
    upstream: str
    endpoint: str
    collections: tuple[SyncCollection, ...]
    pull_interval_s: int
    snapshot_interval_s: int
    push: bool
    pull: bool
    accept_overwrites: bool
    batch_by_commit: bool
    version: int
    push_paused: bool
    pull_paused: bool
    suspended_reason: str  # why the service has stopped it; empty: it runs
    suspended_message: str
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True)
class SyncRecord:
    """The sync state of a record."""

    collection: str
    record_id: str
    sync: SyncInfo
    version: int
    remote_id: str  # empty: it is not known upstream
    remote_version: str


@dataclass(frozen=True)
class SyncEvent:
    """An event of a sync, of one of its collections, or of a record."""

    kind: str
    collection: str
    record_id: str
    reason: str
    message: str
    conflicts: tuple[Conflict, ...]
    event_time: datetime


class SyncPreviewKind(StrEnum):
    """The effect that a push would have on a record."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    REPEAT = "repeat"  # a write was sent before, and its outcome is not known yet
    READ = "read"  # it is read at the upstream first
    CONFLICT = "conflict"  # not sent
    FAILED = "failed"  # refused, and not sent until it changes


@dataclass(frozen=True)
class SyncPreviewRecord:
    """A record of a preview."""

    record_id: str
    kind: SyncPreviewKind


@dataclass(frozen=True)
class SyncPushPreview:
    """The numbers of records of a collection by what a push would do with them, with a few examples of each."""

    collection: str
    created: int
    updated: int
    deleted: int
    repeated_writes: int  # sent before; the outcome is not known yet
    read: int  # read at the upstream before anything is sent
    conflicts: int  # not sent
    failed: int  # refused, and not sent until they change
    awaits_snapshot: bool  # what exists upstream is linked first, in place of being created
    is_stopped: bool  # nothing is sent: paused, suspended, or not part of the sync
    examples: tuple[SyncPreviewRecord, ...] = ()


@dataclass(frozen=True)
class SyncCollectionStatus:
    """The numbers of records of a collection that differ from the upstream, and when it was last read."""

    collection: str
    committed: int
    syncing: int
    failed: int
    conflicts: int
    pull_time: datetime | None  # None: never
    snapshot_time: datetime | None


@dataclass(frozen=True)
class SyncStatus:
    """The numbers of records of a sync, or of a commit, in each state."""

    committed: int  # waiting to be sent
    syncing: int  # sent; the outcome is not known yet
    failed: int  # refused by the upstream
    conflicts: int
    synced: int  # of a commit; 0 for a sync
    due_since: datetime | None
    collections: tuple[SyncCollectionStatus, ...] = ()  # of a sync

    @property
    def is_settled(self) -> bool:
        """True if nothing waits for the upstream: every record is synced, refused or in conflict."""
        return not self.committed and not self.syncing
