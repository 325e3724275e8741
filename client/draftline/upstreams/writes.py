"""Writes to a system, and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .records import Json, RemoteRecord


@dataclass(frozen=True)
class PathEdit:
    """One path of a document that is set to a value, or removed.

    Attributes:
        path: A JSON Pointer (RFC 6901) through objects; it never leads into an array.
        value: The new value. Ignored if `removed` is set.
        removed: The path is removed. Removing a path that does not exist changes nothing.
    """

    path: str
    value: Json = None
    removed: bool = False


@dataclass(frozen=True)
class Create:
    """Create a record with this document."""

    document: Mapping[str, Json]


@dataclass(frozen=True)
class Update:
    """Set and remove paths of an existing record. The paths are disjoint. Objects on the way to a path are created."""

    edits: tuple[PathEdit, ...]


@dataclass(frozen=True)
class Delete:
    """Delete a record."""


Write = Create | Update | Delete


@dataclass(frozen=True, kw_only=True)
class WriteItem:
    """A write to one record.

    Attributes:
        idempotency_key: Identifies the write: a UUID. A write that is sent again, because its outcome is not known, has
            the same key and the same contents.
        record_id: The id in Draftline, which is the client reference in the system.
        write: `Create`, `Update` or `Delete`.
        repeat: The write was sent before, and may have been applied.
        remote_id: The id in the system. Empty for a creation.
        expected_remote_version: The version to which the write applies. None: any.
        commit_ids: The commits that the write contains, for the audit trail of the system.
        user_id: The user who made the last of them.
    """

    idempotency_key: str
    record_id: str
    write: Write
    repeat: bool = False
    remote_id: str = ""
    expected_remote_version: str | None = None
    commit_ids: tuple[str, ...] = ()
    user_id: str = ""


@dataclass(frozen=True)
class FieldProblem:
    """A field that the system refused: its JSON Pointer in local names, and the problem."""

    path: str
    message: str


@dataclass(frozen=True)
class Applied:
    """The system has the write: now, or from an earlier request with the same key.

    Attributes:
        remote_id: The id of the record; for a creation, the new one.
        remote_version: The version after the write. Empty: unknown.
        stored: The record as this write stored it, with its `remote_version`, if `returns_stored` is claimed and the
            response to the write contained it. None: not returned. Never the result of a read after the write, which
            may contain a write of others; for a repetition, it may be the record as it is now.
    """

    remote_id: str
    remote_version: str = ""
    stored: RemoteRecord | None = None


@dataclass(frozen=True)
class Exists:
    """A creation met a record with the same client reference that another request created.

    `record` is that record; None if the system did not return it.
    """

    record: RemoteRecord | None = None


@dataclass(frozen=True)
class Stale:
    """The record is not at `expected_remote_version`, and nothing was applied.

    `record` is the current state; None if the system did not return it.
    """

    record: RemoteRecord | None = None


@dataclass(frozen=True)
class Gone:
    """The record to update does not exist any more. A deletion of a missing record is `Applied`."""


@dataclass(frozen=True)
class Refused:
    """The system refused the write for its contents, and will refuse it again.

    Attributes:
        reason: A code of the system, in capitals if it has one: `INVALID_RATE`.
        message: The explanation for a person.
        fields: The fields that are wrong.
    """

    reason: str
    message: str
    fields: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True)
class NotTaken:
    """The system did not apply this request, for a reason that passes: throttled or busy.

    An earlier request with the same key may still have been applied. `after_s` is the time to wait, if it was given.
    """

    message: str = ""
    after_s: float | None = None


@dataclass(frozen=True)
class Unknown:
    """The write may have been applied, or may be applied later: the response was lost, or was an error.

    `after_s` is the time to wait before any other request, if the system gave it.
    """

    message: str = ""
    after_s: float | None = None


Outcome = Applied | Exists | Stale | Gone | Refused | NotTaken | Unknown
