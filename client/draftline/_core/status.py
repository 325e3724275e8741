"""Conversion of a gRPC status to an error.

The details of a status are `google.rpc.ErrorInfo`, `google.rpc.BadRequest`, `google.rpc.RetryInfo`
and `draftline.v1.Conflict`. The first three are parsed with wire-compatible messages in a
separate descriptor pool, so that this client neither needs googleapis-common-protos nor conflicts
with any version of it. `draftline.v1.Status` replaces `google.rpc.Status` for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, cast

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError

from draftline._core.conflicts import conflict_of
from draftline._core.error_classes import BY_CODE, BY_REASON
from draftline.errors import ConflictError, DraftlineError, FieldViolation
from draftline.models import Conflict, Resolution
from draftline.v1 import draft_pb2, types_pb2

DOMAIN = "draftline"
TRAILER = "grpc-status-details-bin"

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class FailedCall(Protocol):
    """The common interface of the errors of blocking and asyncio gRPC."""

    def code(self) -> grpc.StatusCode | None: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def error_of_call(failure: grpc.RpcError) -> DraftlineError:
    """Return the error for a failed call, from its code and its trailers, with the call as its cause."""
    call = cast(FailedCall, failure)
    status = types_pb2.Status()
    for key, value in call.trailing_metadata() or ():
        if key == TRAILER and isinstance(value, bytes):
            status = _parse_status(value)
    # The code and text of the call itself take precedence: a proxy may have answered instead of the service.
    error = _error(call.code() or grpc.StatusCode.UNKNOWN, call.details() or "", status)
    error.__cause__ = failure
    return error


def error_of_status(status: types_pb2.Status) -> DraftlineError:
    """Return the error for the status of one item of a batch."""
    return _error(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status)


def _error(code: grpc.StatusCode, message: str, status: types_pb2.Status) -> DraftlineError:
    reason = ""
    metadata: dict[str, str] = {}
    violations: tuple[FieldViolation, ...] = ()
    conflicts: list[Conflict] = []
    collected: list[Resolution] = []
    retry_delay_s = None
    for detail in status.details:
        kind = _DETAILS.get(detail.type_url.rpartition("/")[2])
        if kind is None:
            continue
        try:
            parsed = kind.FromString(detail.value)
        except DecodeError:
            continue
        if isinstance(parsed, draft_pb2.Conflict):
            conflicts.append(conflict_of(parsed, collected))
        elif kind is _DETAILS["google.rpc.BadRequest"]:
            violations = tuple(FieldViolation(each.field, each.description) for each in parsed.field_violations)
        elif kind is _DETAILS["google.rpc.RetryInfo"]:
            retry_delay_s = max(0.0, parsed.retry_delay.seconds + parsed.retry_delay.nanos / 1e9)
        elif parsed.domain == DOMAIN:
            reason, metadata = parsed.reason, dict(parsed.metadata)
    by_code = BY_CODE.get(code, DraftlineError)
    by_reason = BY_REASON.get(reason, by_code)
    chosen = by_reason if issubclass(by_reason, by_code) else by_code
    error = chosen(code, message, reason, metadata, violations, retry_delay_s)
    if isinstance(error, ConflictError):
        error.conflicts = tuple(conflicts)
        error.resolutions = collected
    return error


def _parse_status(trailer: bytes) -> types_pb2.Status:
    try:
        return types_pb2.Status.FromString(trailer)
    except DecodeError:
        return types_pb2.Status()


def _detail_messages() -> dict[str, Any]:
    text, message = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_MESSAGE
    long, int32 = FieldDescriptorProto.TYPE_INT64, FieldDescriptorProto.TYPE_INT32
    package = "draftline.status"
    entry = _message("MetadataEntry", key=(1, text), value=(2, text))
    entry.options.map_entry = True
    info = _message("ErrorInfo", reason=(1, text), domain=(2, text))
    info.nested_type.append(entry)
    _repeated(info, "metadata", 3, message, f".{package}.ErrorInfo.MetadataEntry")
    bad_request = _message("BadRequest")
    bad_request.nested_type.append(_message("FieldViolation", field=(1, text), description=(2, text)))
    _repeated(bad_request, "field_violations", 1, message, f".{package}.BadRequest.FieldViolation")
    retry = _message("RetryInfo", retry_delay=(1, message))
    retry.field[0].type_name = f".{package}.RetryInfo.Duration"
    retry.nested_type.append(_message("Duration", seconds=(1, long), nanos=(2, int32)))
    messages = [info, bad_request, retry]
    file = FileDescriptorProto(name="status.proto", package=package, syntax="proto3", message_type=messages)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        f"google.rpc.{name}": message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in (each.name for each in messages)
    }


def _message(name: str, **fields: tuple[int, FieldDescriptorProto.Type.ValueType]) -> DescriptorProto:
    label = FieldDescriptorProto.LABEL_OPTIONAL
    return DescriptorProto(
        name=name,
        field=[
            FieldDescriptorProto(name=field, number=number, type=kind, label=label)
            for field, (number, kind) in fields.items()
        ],
    )


def _repeated(
    owner: DescriptorProto, name: str, number: int, kind: FieldDescriptorProto.Type.ValueType, type_name: str
) -> None:
    owner.field.add(name=name, number=number, type=kind, type_name=type_name, label=FieldDescriptorProto.LABEL_REPEATED)


_DETAILS = {**_detail_messages(), draft_pb2.Conflict.DESCRIPTOR.full_name: draft_pb2.Conflict}
