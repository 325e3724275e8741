"""Errors on the wire: the status code of each reason, and the error details (AIP-193)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from random import uniform

import grpc
import structlog
from draftline.v1 import draft_pb2, types_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from ..domain.errors import ConflictError, DraftlineError, OverloadedError, UnexpectedError
from ..store.driver_errors import UnforeseenError
from ..store.rejections import known_fix

DOMAIN = "draftline"
DETAILS_KEY = "grpc-status-details-bin"
SEND_TIMEOUT_S = 1.0  # timeout for sending a status

# Limits on one error, because clients reject calls with more than about 6 KB of trailers. The
# message is sent twice, and the details in base64.
MAX_MESSAGE = 1_000  # bytes in the trailer, percent-encoded
MAX_FIELDS = 10
MAX_PATH = 1_000  # bytes of a conflict's path
MAX_TEXT = 200  # bytes of a field's path, a problem or a metadata value
MAX_DETAILS = 2_500  # bytes, excluding the first field

CODES: Mapping[str, grpc.StatusCode] = {
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "UNDECODABLE_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_DOCUMENT": grpc.StatusCode.INVALID_ARGUMENT,
    "DOCUMENT_TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "INDEXED_TEXT_TOO_LONG": grpc.StatusCode.INVALID_ARGUMENT,
    "TYPE_MISMATCH": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_OPERATION": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_FILTER": grpc.StatusCode.INVALID_ARGUMENT,
    "DUPLICATE_RECORD": grpc.StatusCode.INVALID_ARGUMENT,
    "SCHEMA_VIOLATION": grpc.StatusCode.INVALID_ARGUMENT,
    "RECORD_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "RECORD_DELETED": grpc.StatusCode.NOT_FOUND,
    "RECORD_EXISTS": grpc.StatusCode.ALREADY_EXISTS,
    "RECORD_NOT_DELETED": grpc.StatusCode.ALREADY_EXISTS,
    "RECORD_LIVE": grpc.StatusCode.FAILED_PRECONDITION,
    "VERSION_MISMATCH": grpc.StatusCode.ABORTED,
    "CONDITION_NOT_MET": grpc.StatusCode.FAILED_PRECONDITION,
    "TEST_FAILED": grpc.StatusCode.FAILED_PRECONDITION,
    "COLLECTION_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "COLLECTION_CONFLICT": grpc.StatusCode.FAILED_PRECONDITION,
    "STATISTIC_NOT_READY": grpc.StatusCode.FAILED_PRECONDITION,
    "RELATION_NOT_READY": grpc.StatusCode.FAILED_PRECONDITION,
    "REFERENCE_NOT_FOUND": grpc.StatusCode.FAILED_PRECONDITION,
    "RECORD_REFERENCED": grpc.StatusCode.FAILED_PRECONDITION,
    "COLLECTION_BOUND": grpc.StatusCode.FAILED_PRECONDITION,
    "SYNC_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "SYNC_STATE_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "EMPTY_SNAPSHOT": grpc.StatusCode.FAILED_PRECONDITION,
    "DRAFT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "DRAFT_VERSION_MISMATCH": grpc.StatusCode.ABORTED,
    "DRAFT_IN_OTHER_SESSION": grpc.StatusCode.FAILED_PRECONDITION,
    "DRAFT_DELETES_RECORD": grpc.StatusCode.FAILED_PRECONDITION,
    "CONFLICT": grpc.StatusCode.ABORTED,
    "SELECTION_TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "ANSWER_TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "REQUEST_ID_REUSED": grpc.StatusCode.INVALID_ARGUMENT,
    "CHANGE_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "HISTORY_NOT_KEPT": grpc.StatusCode.FAILED_PRECONDITION,
    "TOKEN_EXPIRED": grpc.StatusCode.OUT_OF_RANGE,
    "READER_TOO_SLOW": grpc.StatusCode.UNAVAILABLE,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "CONTENTION": grpc.StatusCode.ABORTED,
    "DATABASE_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "OVERLOADED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "STORAGE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "QUOTA_EXCEEDED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "DRAINING": grpc.StatusCode.UNAVAILABLE,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}


def code_of(error: DraftlineError) -> grpc.StatusCode:
    return CODES[error.reason]


def status_of(error: DraftlineError) -> status_pb2.Status:
    """Return the error as google.rpc.Status.

    The details are ErrorInfo, BadRequest for errors of fields, Conflict for conflicts and RetryInfo for overload.
    """
    code = code_of(error)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for key, value in error.metadata.items():
        info.metadata[key] = shortened(value)
    status = status_pb2.Status(code=code.value[0], message=shortened(error.message, MAX_MESSAGE, _percent_encoded_size))
    status.details.append(_packed(info))
    if error.fields:
        status.details.append(_packed(_bad_request(error.fields, MAX_DETAILS - info.ByteSize())))
    if isinstance(error, ConflictError):
        _add_conflicts(status, error)
    if isinstance(error, OverloadedError):
        status.details.append(_packed(_retry_info(error.retry_after_s)))
    return status


def to_status(error: DraftlineError) -> types_pb2.Status:
    """Return the status of one failed item of a batch."""
    status = status_of(error)
    return types_pb2.Status(code=status.code, message=status.message, details=status.details)


def _add_conflicts(status: status_pb2.Status, error: ConflictError) -> None:
    """Add as many conflicts as fit within MAX_DETAILS bytes, with their values as shortened JSON text."""
    for conflict in error.conflicts:
        message = draft_pb2.Conflict(
            collection=shortened(conflict.collection),
            record_id=conflict.record_id,  # not shortened: a resolution names it, as it does the path
            kind=draft_pb2.ConflictKind.Value(f"CONFLICT_KIND_{conflict.kind}"),
            path=shortened(conflict.path, MAX_PATH),
            version=conflict.version,
        )
        for name in ("base", "mine", "theirs"):
            text = getattr(conflict, name)
            if text is not None:
                getattr(message, name).json = shortened(text)
        if status.ByteSize() + message.ByteSize() > MAX_DETAILS:
            break
        status.details.append(_packed(message))


def _retry_info(after_s: float) -> error_details_pb2.RetryInfo:
    """Return a randomized retry delay, so that rejected callers do not all retry at once."""
    message = error_details_pb2.RetryInfo()
    message.retry_delay.FromMicroseconds(round(after_s * uniform(0.5, 1.5) * 1e6))  # noqa: S311  not for secrets
    return message


def _bad_request(fields: Sequence[tuple[str, str]], room: int) -> error_details_pb2.BadRequest:
    """Return as many of the field errors as fit into `room` bytes, but at least one."""
    message = error_details_pb2.BadRequest()
    for field, problem in fields[:MAX_FIELDS]:
        message.field_violations.add(field=shortened(field), description=shortened(problem))
        if message.ByteSize() > room and len(message.field_violations) > 1:
            del message.field_violations[-1]
            break
    return message


def internal_error(error: BaseException, method: str) -> DraftlineError:
    """Log an internal error and return an error for the caller that contains only its incident id."""
    incident = uuid.uuid4().hex
    advice = {}
    if isinstance(error, UnforeseenError) and (fix := known_fix(error.sqlstate)):
        advice = {"sqlstate": error.sqlstate, "hint": fix}
    structlog.get_logger().error("unexpected_error", method=method, incident_id=incident, **advice, exc_info=error)
    return UnexpectedError(
        f"internal error (incident {incident}); the server's log has the details", incident_id=incident
    )


class GoneError(asyncio.CancelledError):
    """The caller has disconnected, so nothing can be sent to it."""


async def abort(context: grpc.aio.ServicerContext[object, object], error: DraftlineError) -> None:
    """End the call with the error. Never returns."""
    status = status_of(error)
    metadata = ((DETAILS_KEY, status.SerializeToString()),)
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await context.abort(code_of(error), status.message, trailing_metadata=metadata)
    except TimeoutError:
        # The caller is not reading. If it resumes, it gets the status after the data sent before; do not wait for that.
        raise asyncio.CancelledError from None
    except grpc.aio.InternalError:
        raise GoneError from None
    except grpc.aio.AbortError as aborted:
        # The call references this error, and the error's frames reference the call. The cycle keeps the call among
        # those of its connection until the garbage collector runs. A hundred failed streams made their connection
        # permanently unusable (grpc 1.78).
        asyncio.get_running_loop().call_soon(forget, aborted)
        raise


def forget(error: BaseException) -> None:
    """Drop the error's traceback, context and cause, because their frames keep objects alive."""
    error.__traceback__ = error.__context__ = error.__cause__ = None


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _percent_encoded_size(text: str) -> int:
    """Return the size of a status message on the wire. Any byte but printable ASCII takes three, as does %."""
    return sum(1 if " " <= char <= "~" and char != "%" else 3 * _utf8_size(char) for char in text)


def shortened(text: str, limit: int = MAX_TEXT, size: Callable[[str], int] = _utf8_size) -> str:
    """Return the text, truncated with an ellipsis if its size exceeds the limit."""
    if size(text) <= limit:
        return text
    room = limit - size("…")
    for index, char in enumerate(text):
        room -= size(char)
        if room < 0:
            return f"{text[:index]}…"
    return text


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
