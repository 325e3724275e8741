"""Sync with systems of record: configurations, attempts to write, and answers of upstreams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from unicodedata import category
from uuid import NAMESPACE_OID, uuid5

from .values import value_class

DEFAULT_PULL_INTERVAL_S = 60
DEFAULT_SNAPSHOT_INTERVAL_S = 86_400
MAX_DELETIONS = 50  # of one snapshot, or DELETED_SHARE of the records if that is more
DELETED_SHARE = 0.05
MAX_BACKOFF_S = 600.0
MAX_REMOTE_ID_BYTES = 1_500  # in UTF-8: with the names of the tenant and the collection it fits into an index
MAX_ID_LENGTH = 128  # characters of the id of a record


class Policy(StrEnum):
    """The decision of a conflict between a change here and a change upstream."""

    HOLD = "HOLD"  # keep both until a person decides
    UPSTREAM_WINS = "UPSTREAM_WINS"
    LOCAL_WINS = "LOCAL_WINS"


class FieldDirection(StrEnum):
    BOTH = "BOTH"
    PUSH = "PUSH"
    PULL = "PULL"


class SyncState(StrEnum):
    """The state of a record of a bound collection, as it is shown."""

    PRISTINE = "PRISTINE"  # synced, and last written by the sync
    SYNCED = "SYNCED"
    COMMITTED = "COMMITTED"  # written here, and not sent yet
    SYNCING = "SYNCING"  # sent, and the outcome is not known yet
    SYNC_ERROR = "SYNC_ERROR"  # refused, or in conflict


@value_class
class MappedField:
    """A field that is synchronized: its path here, its JSON Pointer upstream (empty: the same), and its conversion."""

    path: tuple[str, ...]
    remote: str = ""
    direction: FieldDirection = FieldDirection.BOTH
    type: str = ""
    format: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@value_class
class PolicyRule:
    """A policy for a path and everything below it. `*` stands for any name, unless the rule is `exact`."""

    path: tuple[str, ...]
    policy: Policy
    exact: bool = False


@value_class
class Policies:
    default: Policy = Policy.HOLD
    rules: tuple[PolicyRule, ...] = ()


@value_class
class BoundCollection:
    """A collection of a sync. No fields: the whole content is synchronized."""

    collection: str
    resource: str = ""
    fields: tuple[MappedField, ...] = ()
    policies: Policies = field(default_factory=Policies)


@value_class
class SyncSpec:
    """The configuration of a sync, as a tenant declares it."""

    upstream: str
    endpoint: str
    collections: tuple[BoundCollection, ...]
    pull_interval_s: int = DEFAULT_PULL_INTERVAL_S
    snapshot_interval_s: int = DEFAULT_SNAPSHOT_INTERVAL_S
    push: bool = True
    pull: bool = True
    accept_overwrites: bool = False
    batch_by_commit: bool = False


@value_class
class Sync:
    """A stored sync and its state."""

    spec: SyncSpec
    version: int
    push_paused: bool
    pull_paused: bool
    suspended_reason: str
    suspended_message: str
    created_at: datetime
    updated_at: datetime


class Op(StrEnum):
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


@value_class
class Attempt:
    """A write of one record that is stored before it is sent.

    `sent` and `base` are JSON texts of the mapped fields: after the write, and before it. `in_doubt`: sent before.
    `age_s`: the seconds since it was stored, by the database's clock.
    """

    record_id: str
    attempt_id: str
    op: Op
    remote_id: str
    if_match: str | None
    sent: str | None
    base: str | None
    in_doubt: bool
    tries: int
    commit_id: str
    user_id: str
    age_s: float


class Effect(StrEnum):
    """The outcome of an attempt; store/sql/sync_push.sql describes each."""

    APPLIED = "APPLIED"
    READ = "READ"
    REFUSED = "REFUSED"
    NOT_TAKEN = "NOT_TAKEN"
    DROPPED = "DROPPED"
    UNKNOWN = "UNKNOWN"
    LOST = "LOST"


@value_class
class Settlement:
    """The outcome of an attempt. `error` is a JSON object with `reason`, `message` and `field`."""

    record_id: str
    attempt_id: str
    effect: Effect
    remote_id: str | None = None
    remote_version: str | None = None
    error: str | None = None
    next_at: datetime | None = None


@value_class
class Answer:
    """A record as the upstream answered it. `document`: the JSON text of the mapped fields, empty if it is deleted.

    `is_storable`: false if the document is not one that may be stored here; `document` is then empty.
    """

    remote_id: str
    remote_version: str | None
    reference: str
    is_deleted: bool
    document: str = "{}"
    record_id: str = ""  # of the record here, if it is known
    is_storable: bool = True


class Verdict(StrEnum):
    """The result of merging an answer; store/sql/sync_merge.sql describes each."""

    DEFER = "DEFER"
    DUPLICATE = "DUPLICATE"
    REFUSE = "REFUSE"
    IGNORE = "IGNORE"
    GONE = "GONE"
    DELETE = "DELETE"
    RECREATE = "RECREATE"
    HOLD_DELETED = "HOLD_DELETED"
    HOLD_CHANGED = "HOLD_CHANGED"
    KEEP_DELETED = "KEEP_DELETED"
    CREATE = "CREATE"
    UNDELETE = "UNDELETE"
    MERGE = "MERGE"


@value_class
class MergeResult:
    """The result for one answer."""

    record_id: str
    remote_id: str
    verdict: Verdict
    deferral: str
    kind: str  # of the change that was written; empty: none
    is_overruled: bool


def new_record_id(proposed: str, remote_id: str) -> str:
    """Return the id of a new record: the proposed one, or one made of the remote id if no call could name that."""
    has_control = not proposed.isprintable() and any(category(each) == "Cc" for each in proposed)
    can_be_named = 0 < len(proposed) <= MAX_ID_LENGTH and not has_control
    return proposed if can_be_named else str(uuid5(NAMESPACE_OID, remote_id))


def backoff_s(tries: int, first_s: float = 1.0, most_s: float = MAX_BACKOFF_S) -> float:
    """Return the longest pause before the next try: doubling from `first_s`, at most `most_s`."""
    return min(most_s, first_s * 2.0 ** min(tries, 30))


def deletion_limit(known: int) -> int:
    """Return how many deletions a snapshot may make of so many records without being asked."""
    return max(MAX_DELETIONS, int(known * DELETED_SHARE))


def paths_overlap(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return a path that is equal to another one or below it; None if there is none."""
    ordered = sorted(paths)
    for before, path in pairwise(ordered):
        if path[: len(before)] == before:
            return path
    return None
