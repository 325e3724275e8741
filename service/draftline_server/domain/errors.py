"""Errors, one class for each reason of error_reason.proto.

All layers raise these; only `rpc/status.py` maps them to status codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .drafts import Conflict

# Part of every error message after which the outcome of a write is unknown.
WRITE_IS_UNKNOWN = "the outcome of the write is unknown; a retry with the same request_id is safe"


class DraftlineError(Exception):
    """An error whose text is meant for the caller.

    `metadata` becomes ErrorInfo.metadata. `fields` becomes BadRequest: pairs of a
    field's path in the request and the description of the violation.
    """

    reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        fields: Sequence[tuple[str, str]] = (),
        **metadata: object,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fields = tuple(fields)
        self.metadata: Mapping[str, str] = {key: str(value) for key, value in metadata.items() if value is not None}

    def within(self, where: str) -> DraftlineError:
        """Return the same error for a part of a request: `where` prefixes its message and its fields."""
        fields = [(f"{where}.{field}", problem) for field, problem in self.fields]
        return type(self)(f"{where}: {self.message}", fields=fields, **self.metadata)

    def of_record(self, index: int, record_id: str, source: str) -> DraftlineError:
        """Return the same error with the record of an import that caused it.

        `index` is the record's index in the whole stream, from 0. `source` is the origin that the caller gave for the
        record; empty if none was given.
        """
        own = f"records[{index}]"
        message = self.message.removeprefix(f"{own}.") if source else self.message
        if not message.startswith(own):
            message = f"{source or own}: {message}"
        fields = [(field if field.startswith(own) else f"{own}.content", problem) for field, problem in self.fields]
        metadata = {**self.metadata, "record_index": index, "record_id": record_id, "source": source or None}
        return type(self)(message, fields=fields, **metadata)


class OperatorError(Exception):
    """An error that the operator can fix. The message is a single line."""


class OutOfReachError(OperatorError):
    """The database cannot be reached or refuses the connection. The message gives the reason, and `fix` what to do.

    `url` is the URL of the attempt, without secrets; empty if the error is not about one.
    """

    def __init__(self, message: str, fix: str = "run `draftline doctor` to find out why", url: str = "") -> None:
        super().__init__(message)
        self.fix = fix
        self.url = url
        self.advice = f"{fix}; the URL is {url}" if url else fix


class InvalidFieldError(DraftlineError):
    reason = "INVALID_FIELD"

    @classmethod
    def of(cls, field: str, problem: str) -> InvalidFieldError:
        return cls(f"{field}: {problem}", fields=[(field, problem)])


class UndecodableRequestError(DraftlineError):
    reason = "UNDECODABLE_REQUEST"


class InvalidDocumentError(DraftlineError):
    reason = "INVALID_DOCUMENT"


class DocumentTooLargeError(DraftlineError):
    reason = "DOCUMENT_TOO_LARGE"


class IndexedTextTooLongError(DraftlineError):
    reason = "INDEXED_TEXT_TOO_LONG"


class TypeMismatchError(DraftlineError):
    reason = "TYPE_MISMATCH"


class InvalidOperationError(DraftlineError):
    reason = "INVALID_OPERATION"


class InvalidFilterError(DraftlineError):
    reason = "INVALID_FILTER"


class DuplicateRecordError(DraftlineError):
    reason = "DUPLICATE_RECORD"


class SchemaViolationError(DraftlineError):
    reason = "SCHEMA_VIOLATION"


class RecordNotFoundError(DraftlineError):
    reason = "RECORD_NOT_FOUND"


class RecordDeletedError(DraftlineError):
    reason = "RECORD_DELETED"


class RecordExistsError(DraftlineError):
    reason = "RECORD_EXISTS"


class RecordNotDeletedError(DraftlineError):
    reason = "RECORD_NOT_DELETED"


class RecordLiveError(DraftlineError):
    reason = "RECORD_LIVE"


class VersionMismatchError(DraftlineError):
    reason = "VERSION_MISMATCH"


class ConditionNotMetError(DraftlineError):
    reason = "CONDITION_NOT_MET"


class OperationTestFailedError(DraftlineError):
    reason = "TEST_FAILED"


class CollectionNotFoundError(DraftlineError):
    reason = "COLLECTION_NOT_FOUND"


class CollectionConflictError(DraftlineError):
    reason = "COLLECTION_CONFLICT"


class StatisticNotReadyError(DraftlineError):
    reason = "STATISTIC_NOT_READY"


class RelationNotReadyError(DraftlineError):
    reason = "RELATION_NOT_READY"


class ReferenceNotFoundError(DraftlineError):
    reason = "REFERENCE_NOT_FOUND"


class RecordReferencedError(DraftlineError):
    reason = "RECORD_REFERENCED"


class CollectionBoundError(DraftlineError):
    reason = "COLLECTION_BOUND"


class SyncNotFoundError(DraftlineError):
    reason = "SYNC_NOT_FOUND"


class SyncStateError(DraftlineError):
    reason = "SYNC_STATE_MISMATCH"


class EmptySnapshotError(DraftlineError):
    reason = "EMPTY_SNAPSHOT"


class DraftNotFoundError(DraftlineError):
    reason = "DRAFT_NOT_FOUND"


class DraftVersionMismatchError(DraftlineError):
    reason = "DRAFT_VERSION_MISMATCH"


class DraftInOtherSessionError(DraftlineError):
    reason = "DRAFT_IN_OTHER_SESSION"


class DraftDeletesRecordError(DraftlineError):
    reason = "DRAFT_DELETES_RECORD"


class ConflictError(DraftlineError):
    """A write conflicts with the current record. As many `conflicts` as fit are sent with the error."""

    reason = "CONFLICT"

    def __init__(self, message: str, conflicts: Sequence[Conflict] = (), **metadata: object) -> None:
        super().__init__(message, fields=(), **metadata)
        self.conflicts = conflicts

    def within(self, where: str) -> DraftlineError:
        return ConflictError(f"{where}: {self.message}", self.conflicts, **self.metadata)

    def without_values(self) -> ConflictError:
        """Return the same error without values, for a caller that may not read the records."""
        conflicts = [replace(conflict, base=None, mine=None, theirs=None) for conflict in self.conflicts]
        return ConflictError(self.message, conflicts, **self.metadata)


class SelectionTooLargeError(DraftlineError):
    reason = "SELECTION_TOO_LARGE"


class AnswerTooLargeError(DraftlineError):
    reason = "ANSWER_TOO_LARGE"


class RequestIdReusedError(DraftlineError):
    reason = "REQUEST_ID_REUSED"


class ChangeNotFoundError(DraftlineError):
    reason = "CHANGE_NOT_FOUND"


class HistoryNotKeptError(DraftlineError):
    reason = "HISTORY_NOT_KEPT"


class TokenExpiredError(DraftlineError):
    reason = "TOKEN_EXPIRED"


class ReaderTooSlowError(DraftlineError):
    reason = "READER_TOO_SLOW"


class UnauthenticatedError(DraftlineError):
    reason = "UNAUTHENTICATED"


class PermissionDeniedError(DraftlineError):
    reason = "PERMISSION_DENIED"


class ContentionError(DraftlineError):
    reason = "CONTENTION"


class DatabaseUnavailableError(DraftlineError):
    reason = "DATABASE_UNAVAILABLE"


class OverloadedError(DraftlineError):
    """The service has no capacity and nothing was done. A retry may succeed after `retry_after_s`."""

    reason = "OVERLOADED"

    def __init__(
        self, message: str, *, fields: Sequence[tuple[str, str]] = (), retry_after_s: float = 1.0, **metadata: object
    ) -> None:
        super().__init__(message, fields=fields, **metadata)
        self.retry_after_s = retry_after_s


class StorageFullError(DraftlineError):
    """The disk of the database is full and nothing was written. Only an operator can change that."""

    reason = "STORAGE_FULL"


class QuotaExceededError(DraftlineError):
    """The tenant has reached a quota and nothing was written."""

    reason = "QUOTA_EXCEEDED"


class DeadlineExceededError(DraftlineError):
    reason = "DEADLINE_EXCEEDED"


class DrainingError(DraftlineError):
    reason = "DRAINING"


class UnexpectedError(DraftlineError):
    """An internal error. It carries only an incident id; the details are in the log."""

    reason = "INTERNAL"
