"""The errors that calls raise: one class for each way that a caller can handle them.

    try:
        client.patch_content("movies", "m-1", {"Title": "Alien"}, expected_version=3)
    except draftline.VersionMismatchError as error:
        print("the record was changed in the meantime; its version is", error.current_version)

Arguments that cannot be sent at all raise ValueError or TypeError before any call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from draftline.models import BulkFailure, Conflict, Resolution


@dataclass(frozen=True)
class FieldViolation:
    """A field of the request that violates a rule of the contract."""

    field: str
    description: str


class UnknownFieldWarning(UserWarning):
    """A filter, an order, `fields` or a condition names a field that the collection does not seem to have.

    To raise it as an error in tests, run `python -W error::draftline.UnknownFieldWarning`.
    """


class ModelMismatchError(ValueError):
    """The content of a record does not fit the model of a typed collection, or a model cannot be encoded.

    Attributes:
        record_id: the record; empty for a model that was to be written.
        model: the name of the model's class.
    """

    def __init__(self, record_id: str, model: str, problem: str) -> None:
        where = f"the content of record {record_id!r} does not fit {model}" if record_id else f"invalid {model}"
        super().__init__(f"{where}: {problem}")
        self.record_id, self.model = record_id, model


class DraftlineError(Exception):
    """The base class of the errors of failed calls. Raised directly for codes without a subclass.

    Attributes:
        code: the canonical status code.
        message: a description in English, for developers.
        reason: the service's own reason (`error_reason.proto`, without its prefix), such
            as "VERSION_MISMATCH"; empty if the error does not come from the service.
        metadata: the details of the reason, all strings.
        field_violations: the fields of an invalid request that violate a rule.
        retry_delay_s: seconds after which the service asks the client to retry; None: not specified.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Sequence[FieldViolation] = (),
        retry_delay_s: float | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field_violations = tuple(field_violations)
        self.retry_delay_s = retry_delay_s
        super().__init__(code, message, reason, self.metadata, self.field_violations, retry_delay_s)

    def __str__(self) -> str:
        label = f"{self.code.name}/{self.reason}" if self.reason else self.code.name
        missing = [each for each in self.field_violations if each.description not in self.message]
        broken = "; ".join(f"{each.field}: {each.description}" for each in missing)
        return f"{label}: {self.message}" + (f" ({broken})" if broken else "")

    @property
    def record_index(self) -> int | None:
        """The index of the import's record that caused the error, from 0 over all records; None: no single one."""
        return self._number("record_index")

    @property
    def record_id(self) -> str:
        """The id of the record that caused the error, if it is one of several; empty: the service did not name it."""
        return self.metadata.get("record_id", "")

    @property
    def source(self) -> str:
        """The `source` of the import's record that caused the error; empty: it has none."""
        return self.metadata.get("source", "")

    def _number(self, key: str) -> int | None:
        text = self.metadata.get(key, "")
        return int(text) if text.isdecimal() else None


class InvalidArgumentError(DraftlineError):
    """The request is invalid; sending it again fails again."""


class InvalidFilterError(InvalidArgumentError):
    """A filter or a condition has a syntax error, or an invalid name or value."""

    @property
    def position(self) -> int | None:
        """The index of the character at which parsing failed, from 0."""
        return self._number("position")


class NotFoundError(DraftlineError):
    """The record or collection does not exist, or the record is deleted (reason "RECORD_DELETED").

    Creating a record with the id of a deleted one also raises this; set `allow_deleted` to overwrite it.
    """


class DraftNotFoundError(NotFoundError):
    """The caller has no draft of the record."""


class AlreadyExistsError(DraftlineError):
    """The id is taken, or the record to restore is not deleted."""


class FailedPreconditionError(DraftlineError):
    """The stored state does not allow the call."""


class ConditionNotMetError(FailedPreconditionError):
    """The stored record does not satisfy `condition`."""


class ReferenceNotFoundError(FailedPreconditionError):
    """The write names a record that does not exist or is deleted, by a relation with `integrity="check"`."""

    @property
    def relation(self) -> str:
        """The name of the relation."""
        return self.metadata.get("relation", "")

    @property
    def path(self) -> str:
        """The field of the relation, a JSON Pointer."""
        return self.metadata.get("path", "")

    @property
    def related_id(self) -> str:
        """The first id without a record."""
        return self.metadata.get("related_id", "")


class RecordReferencedError(FailedPreconditionError):
    """The record cannot be deleted, because others name it by a relation with `integrity="check"`."""

    @property
    def relation(self) -> str:
        """The name of the relation."""
        return self.metadata.get("relation", "")

    @property
    def referring_collection(self) -> str:
        """The collection of the records that name it."""
        return self.metadata.get("referring_collection", "")

    @property
    def referring_ids(self) -> list[str]:
        """The first records that name it, at most 10."""
        return [str(each) for each in json.loads(self.metadata.get("referring_ids", "[]"))]


class OperationTestFailedError(FailedPreconditionError):
    """A `test` operation failed; no operation was applied."""

    @property
    def operation(self) -> int | None:
        """The index of the operation, from 0."""
        return self._number("operation")

    @property
    def path(self) -> str:
        """The operation's path, a JSON Pointer."""
        return self.metadata.get("path", "")


class HistoryNotKeptError(FailedPreconditionError):
    """The change cannot be reverted, because the log did not store its values."""


class DraftInOtherSessionError(FailedPreconditionError):
    """The caller's draft of the record and the save belong to different sessions, or one of them to none.

    Save with the draft's session, or with `move_to_session`.
    """

    @property
    def session_id(self) -> str:
        """The session that the draft belongs to; empty: none."""
        return self.metadata.get("session_id", "")


class DraftDeletesRecordError(FailedPreconditionError):
    """The caller's draft deletes the record: save with `replace`, or discard the draft."""


class AbortedError(DraftlineError):
    """A concurrent write conflicted with the call; nothing was changed."""


class VersionMismatchError(AbortedError):
    """`expected_version` is not the current version: read again, then retry with the version read."""

    @property
    def current_version(self) -> int | None:
        """The current version of the record."""
        return self._number("current_version")


class DraftVersionMismatchError(AbortedError):
    """`expected_draft_version` is not the version of the caller's draft."""

    @property
    def current_draft_version(self) -> int | None:
        """The current version of the draft; 0: there is none."""
        return self._number("current_draft_version")


class ConflictError(AbortedError):
    """Others changed the same paths in the meantime. Nothing was committed or reverted; drafts stay drafts.

    Attributes:
        conflicts: the first conflicts, as many as fit into an error, with long values
            `Shortened`. `commit` and `revert` with `validate_only` and `allow_partial` return
            all of them in full.
        resolutions: the decisions so far: those that the commit was sent with, and those of each conflict
            whose `resolve` was called.
    """

    conflicts: tuple[Conflict, ...] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.resolutions: list[Resolution] = []

    @property
    def conflicts_count(self) -> int | None:
        """The total number of conflicts."""
        return self._number("conflicts_count")


class PermissionDeniedError(DraftlineError):
    """The caller lacks the permission, whether or not the resource exists."""


class UnauthenticatedError(DraftlineError):
    """The token is missing or invalid, or no user is given. Nothing was done.

    If `token` is a function, the call was already retried with a new token.
    """

    @property
    def is_expired(self) -> bool:
        """True if the token was valid, but has expired."""
        return self.metadata.get("expired") == "true"


class UnavailableError(DraftlineError):
    """The service is unreachable. The call was already retried, unless it is a write without a request id.

    A write may or may not have taken effect. Retrying it with the same request id is safe.
    """


class TokenExpiredError(DraftlineError):
    """The resume token is older than the log.

    Changes were missed: read the data again, and start a new watch without a token.
    """


class ResourceExhaustedError(DraftlineError):
    """The service has no capacity for the call at present, or a message is over 16 MiB.

    With the reason `STORAGE_FULL`, the disk of the database is full: nothing was written.
    """


class QuotaExceededError(ResourceExhaustedError):
    """The write would add records or drafts to a tenant that has reached a quota. Nothing was written.

    Deleting, discarding and changing existing records remain possible.
    """

    @property
    def quota(self) -> str:
        """The quota: "records", "bytes" or "drafts"."""
        return self.metadata.get("quota", "")

    @property
    def limit(self) -> int | None:
        """The most that the tenant may use."""
        return self._number("limit")

    @property
    def use(self) -> int | None:
        """The use of the tenant at the last count."""
        return self._number("use")


class DeadlineExceededError(DraftlineError):
    """The call took longer than its timeout. A write may or may not have taken effect."""


class CallCancelledError(DraftlineError):
    """The call was cancelled, for example because the client was closed."""


class UnimplementedError(DraftlineError):
    """The server does not know the call: it is older than this client, or not Draftline."""


class InternalError(DraftlineError):
    """An internal error of the service."""

    @property
    def incident_id(self) -> str:
        """The id to search for in the server's log; empty if the error does not come from the service."""
        return self.metadata.get("incident_id", "")


class BulkWriteError(Exception):
    """Writes of a bulk writer failed.

    Attributes:
        failures: the first failures, at most 100, in the order in which they became known.
        failed_count: the number of all failures.
    """

    def __init__(self, failures: Sequence[BulkFailure], failed_count: int) -> None:
        self.failures = tuple(failures)
        self.failed_count = failed_count
        super().__init__(self.failures, failed_count)

    def __str__(self) -> str:
        first = self.failures[0]
        where = f"{first.collection}/{first.record_id}" if first.record_id else first.collection
        return f"{self.failed_count} writes failed; the first one, of {where}: {first.error}"
