"""The class of the error for each status code and each reason."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from draftline.errors import (
    AbortedError,
    AlreadyExistsError,
    CallCancelledError,
    ConditionNotMetError,
    ConflictError,
    DeadlineExceededError,
    DraftDeletesRecordError,
    DraftInOtherSessionError,
    DraftlineError,
    DraftNotFoundError,
    DraftVersionMismatchError,
    FailedPreconditionError,
    HistoryNotKeptError,
    InternalError,
    InvalidArgumentError,
    InvalidFilterError,
    NotFoundError,
    OperationTestFailedError,
    PermissionDeniedError,
    QuotaExceededError,
    RecordReferencedError,
    ReferenceNotFoundError,
    ResourceExhaustedError,
    TokenExpiredError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    VersionMismatchError,
)

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

# Only reasons that are more specific than their code; each class is a subclass of its code's class.
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
    "REFERENCE_NOT_FOUND": ReferenceNotFoundError,
    "RECORD_REFERENCED": RecordReferencedError,
    "TEST_FAILED": OperationTestFailedError,
    "QUOTA_EXCEEDED": QuotaExceededError,
}
