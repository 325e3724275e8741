"""Records and the patches that change them, as the service passes them around.

Content is JSON text throughout, so that numbers of any length pass untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from .edits import Operation, Strategy
from .errors import DraftlineError
from .filters.ast import Filter, Restriction
from .values import value_class


class Hash(Protocol):
    """What hashlib makes; more can be added to it until it is asked."""

    def digest(self) -> bytes: ...


class Answer(Protocol):
    """What a call answers, as it can be kept: a message of protobuf."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802


@value_class
class Request:
    """A call that happens once: its id, and a hash of everything else that it says."""

    request_id: str
    hashed: Hash

    @property
    def fingerprint(self) -> bytes:
        return self.hashed.digest()


@value_class
class Actor:
    """On whose behalf a call runs: one tenant and one user, and the request if it is to happen once."""

    tenant_id: str
    user_id: str
    request: Request | None = None


@value_class
class Record:
    collection: str
    record_id: str
    content: str
    version: int
    parent_id: str | None
    position: int | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    deleted_at: datetime | None


@value_class
class NewRecord:
    """A record to create; `source` says where an import has it from, for errors."""

    collection: str
    record_id: str
    content: str
    parent_id: str | None = None
    position: int | None = None
    source: str = ""
    allow_deleted: bool = False  # the id may be that of a deleted record


@value_class
class Delta:
    """JSON text of an object, merged by a strategy."""

    json: str
    strategy: Strategy
    depth: int = 0


@value_class
class Operations:
    steps: Sequence[Operation]


@value_class
class Patch:
    """A change of one record. `parent_id`: None leaves it, an empty text clears it."""

    collection: str
    record_id: str
    change: Delta | Operations | None = None
    expected_version: int | None = None
    condition: Filter[Restriction] | None = None
    allow_missing: bool = False
    parent_id: str | None = None
    position: int | None = None
    allow_deleted: bool = False  # with allow_missing: a deleted record counts as one that is missing


@value_class
class PatchResult:
    """What a patch did: the record after it, or why it was not applied."""

    record: Record | None = None
    changed_fields: Sequence[str] = field(default_factory=tuple)
    error: DraftlineError | None = None
    written: bool = False  # false: it was as the patch would have it


@value_class
class Purge:
    """Which deleted records are removed for good: some by id, those deleted before a time, or both conditions.

    `record_prefix` and `conflict_mark` tell kept answers that hold their content (see purges.sql).
    """

    collection: str
    record_ids: Sequence[str]  # empty: any
    deleted_before: datetime | None  # None: any time
    limit: int  # most records removed at once
    record_prefix: bytes
    conflict_mark: bytes


@value_class
class PurgeResult:
    """The records that were removed, and how many drafts with them; `remaining` could be removed as well."""

    record_ids: Sequence[str]
    drafts: int
    remaining: int


class ImportMode(StrEnum):
    UPSERT = "UPSERT"
    SNAPSHOT = "SNAPSHOT"


@value_class
class ImportCounts:
    inserted: int
    updated: int
    unchanged: int
    deleted: int
    commit_id: str = ""
