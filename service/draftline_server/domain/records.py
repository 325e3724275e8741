"""Records and patches, as the layers of the service exchange them.

Content is always JSON text, so that numbers of any length are preserved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias

from .content import Json
from .edits import Operation, Strategy
from .errors import DraftlineError
from .filters.ast import Filter, Restriction
from .values import value_class


class Hash(Protocol):
    """A hashlib hash object. It can be updated until its digest is read."""

    def digest(self) -> bytes: ...


@value_class
class Request:
    """An idempotent call: its request id, and a hash of all other fields of the request."""

    request_id: str
    hashed: Hash

    @property
    def fingerprint(self) -> bytes:
        return self.hashed.digest()


@value_class
class Actor:
    """The tenant and user on whose behalf a call runs, and the request if the call is idempotent."""

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
    """A record to create."""

    collection: str
    record_id: str
    content: str
    parent_id: str | None = None
    position: int | None = None
    allow_deleted: bool = False  # whether it may replace a deleted record with the same id
    allow_missing: bool = True  # whether it may create a record; without it, only a deleted one is replaced


KeysOf: TypeAlias = Callable[[Mapping[str, Json]], Sequence[bytes]]  # of a content, for each order of its collection


@value_class
class ImportedRecord:
    """A record of an import. `source` is its origin, for error messages; `keys` are the sort keys of its content."""

    record_id: str
    content: str
    keys: Sequence[bytes]
    parent_id: str | None = None
    position: int | None = None
    source: str = ""


@value_class
class Delta:
    """The JSON text of an object, and the strategy to merge it with."""

    json: str
    strategy: Strategy
    depth: int = 0


@value_class
class Operations:
    steps: Sequence[Operation]


@value_class
class Patch:
    """A change of one record. A `parent_id` of None leaves the parent unchanged; an empty string clears it."""

    collection: str
    record_id: str
    change: Delta | Operations | None = None
    expected_version: int | None = None
    condition: Filter[Restriction] | None = None
    allow_missing: bool = False
    parent_id: str | None = None
    position: int | None = None
    allow_deleted: bool = False  # apply the patch to the empty object if the record is deleted


@value_class
class PatchResult:
    """The result of a patch: the record after it, or the reason why it was not applied."""

    record: Record | None = None
    changed_fields: Sequence[str] = field(default_factory=tuple)
    error: DraftlineError | None = None
    written: bool = False  # false if the patch changed nothing


@value_class
class Purge:
    """The deleted records to remove permanently: by id, by deletion time, or by both conditions.

    `record_prefix` and `conflict_mark` identify stored responses that hold content of these records (see purges.sql).
    """

    collection: str
    record_ids: Sequence[str]  # empty for any record
    deleted_before: datetime | None  # None for any time
    limit: int  # maximum number of records removed in one call
    record_prefix: bytes
    conflict_mark: bytes


@value_class
class PurgeResult:
    """The removed records, the number of removed drafts, and how many matching records remain."""

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
