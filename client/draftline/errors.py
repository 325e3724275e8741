"""What a call raises: one class for each thing that a caller can do about it.

    try:
        client.patch_content("movies", "m-1", {"Title": "Alien"}, expected_version=3)
    except draftline.VersionMismatchError as error:
        print("somebody was faster, it is now at", error.current_version)

Arguments that cannot be sent at all raise ValueError or TypeError before any call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from draftline.draft_models import Conflict, Resolution


@dataclass(frozen=True)
class FieldViolation:
    """A field of the request that breaks a rule of the contract."""

    field: str
    description: str


class DraftlineError(Exception):
    """A call that failed. Raised itself for codes that have no class of their own.

    Attributes:
        code: the canonical status code.
        message: what went wrong, in English, for developers.
        reason: the service's own reason (`error_reason.proto`, without its prefix), such
            as "VERSION_MISMATCH"; empty if the error does not come from the service.
        metadata: what belongs to the reason, all texts.
        field_violations: the fields that break a rule, for an invalid request.
        retry_delay_s: seconds that the service wants to pass before the call is sent again;
            None: it did not say.
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
        untold = [each for each in self.field_violations if each.description not in self.message]
        broken = "; ".join(f"{each.field}: {each.description}" for each in untold)
        return f"{label}: {self.message}" + (f" ({broken})" if broken else "")

    @property
    def record_index(self) -> int | None:
        """The record of an import that is to blame, counted from 0 over all that were given; None: no single one."""
        return self._number("record_index")

    @property
    def record_id(self) -> str:
        """The record that is to blame, where the error is about one of several; empty: the service did not name it."""
        return self.metadata.get("record_id", "")

    @property
    def source(self) -> str:
        """The `source` of the record of an import that is to blame; empty: it was given none."""
        return self.metadata.get("source", "")

    def _number(self, key: str) -> int | None:
        text = self.metadata.get(key, "")
        return int(text) if text.isdecimal() else None


class InvalidArgumentError(DraftlineError):
    """The request breaks a rule; sent again, it fails again."""


class InvalidFilterError(InvalidArgumentError):
    """A filter or a condition does not parse."""

    @property
    def position(self) -> int | None:
        """The character where it does not, from 0."""
        return self._number("position")


class NotFoundError(DraftlineError):
    """No such record or collection, or (reason "RECORD_DELETED") a record that is deleted.

    A call that creates a record fails so if the id is that of a deleted one: `allow_deleted` writes over it.
    """


class DraftNotFoundError(NotFoundError):
    """The caller has no draft of the record."""


class AlreadyExistsError(DraftlineError):
    """The id is taken, or the record to bring back is not deleted."""


class FailedPreconditionError(DraftlineError):
    """What is stored does not allow it."""


class ConditionNotMetError(FailedPreconditionError):
    """The stored record does not satisfy `condition`."""


class OperationTestFailedError(FailedPreconditionError):
    """A `test` operation failed, so that none was applied."""

    @property
    def operation(self) -> int | None:
        """The index of the operation, from 0."""
        return self._number("operation")

    @property
    def path(self) -> str:
        """The operation's path, a JSON Pointer."""
        return self.metadata.get("path", "")


class HistoryNotKeptError(FailedPreconditionError):
    """The change cannot be reverted: the log did not keep its values."""


class DraftInOtherSessionError(FailedPreconditionError):
    """The caller's draft of the record belongs to another session than the save's, or one of them to none.

    Save with that session, or with `move_to_session`.
    """

    @property
    def session_id(self) -> str:
        """The session that the draft belongs to; empty: none."""
        return self.metadata.get("session_id", "")


class DraftDeletesRecordError(FailedPreconditionError):
    """The caller's draft deletes the record: save with `replace`, or discard the draft."""


class AbortedError(DraftlineError):
    """A concurrent write stood in the way; nothing was changed."""


class VersionMismatchError(AbortedError):
    """`expected_version` is not the current version: read again, then retry with that."""

    @property
    def current_version(self) -> int | None:
        """The version that the record has."""
        return self._number("current_version")


class DraftVersionMismatchError(AbortedError):
    """`expected_draft_version` is not the version of the caller's draft."""

    @property
    def current_draft_version(self) -> int | None:
        """The version that the draft has; 0: there is none."""
        return self._number("current_draft_version")


class ConflictError(AbortedError):
    """Others changed the same since. Nothing was committed or reverted, and drafts are drafts still.

    Attributes:
        conflicts: the first of them, as many as an error has room for, long values
            `Shortened`. `commit` and `revert` with `validate_only` and `allow_partial` answer
            them all, whole.
        resolutions: what was decided so far: those that the commit was sent with, and those of each conflict
            whose `resolve` is called.
    """

    conflicts: tuple[Conflict, ...] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.resolutions: list[Resolution] = []

    @property
    def conflicts_count(self) -> int | None:
        """How many there are in all."""
        return self._number("conflicts_count")


class PermissionDeniedError(DraftlineError):
    """Not yours to do, whether it exists or not."""


class UnauthenticatedError(DraftlineError):
    """No valid token, or no user. Nothing was done; where `token` is a function, it was asked again already."""

    @property
    def is_expired(self) -> bool:
        """Whether the token was valid, and is no more."""
        return self.metadata.get("expired") == "true"


class UnavailableError(DraftlineError):
    """The service is out of reach. The call was sent again already, unless it is a write without a request id.

    What a write did is unknown. To send it again with the same id is safe.
    """


class TokenExpiredError(DraftlineError):
    """The resume token is older than what the log still holds.

    Changes were missed: read what you need anew, and watch from now on, without a token.
    """


class ResourceExhaustedError(DraftlineError):
    """The service has no room for the call now, or a message is over 16 MiB."""


class DeadlineExceededError(DraftlineError):
    """The call took longer than its timeout. What a write did is unknown."""


class CallCancelledError(DraftlineError):
    """The call was cancelled, for instance because the client was closed."""


class UnimplementedError(DraftlineError):
    """The server does not know the call: it is older than this client, or not Draftline."""


class InternalError(DraftlineError):
    """Something unexpected happened in the service."""

    @property
    def incident_id(self) -> str:
        """What to look for in the server's log; empty if the error does not come from the service."""
        return self.metadata.get("incident_id", "")


BY_CODE: Mapping[grpc.StatusCode, type[DraftlineError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: CallCancelledError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.INTERNAL: InternalError,
}

# Only where a reason means more than its code; each is a subclass of its code's class.
BY_REASON: Mapping[str, type[DraftlineError]] = {
    "INVALID_FILTER": InvalidFilterError,
    "TOKEN_EXPIRED": TokenExpiredError,
    "HISTORY_NOT_KEPT": HistoryNotKeptError,
    "DRAFT_NOT_FOUND": DraftNotFoundError,
    "DRAFT_IN_OTHER_SESSION": DraftInOtherSessionError,
    "DRAFT_DELETES_RECORD": DraftDeletesRecordError,
    "DRAFT_VERSION_MISMATCH": DraftVersionMismatchError,
    "CONFLICT": ConflictError,
    "VERSION_MISMATCH": VersionMismatchError,
    "CONDITION_NOT_MET": ConditionNotMetError,
    "TEST_FAILED": OperationTestFailedError,
}
