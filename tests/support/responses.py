"""Read responses as a caller does: documents as exact values, errors with their details."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, types_pb2
from google.protobuf import json_format, struct_pb2
from google.rpc import error_details_pb2, status_pb2

TIMEOUT_S = 30.0
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@dataclass(frozen=True)
class Refusal:
    """An error: its code, its ErrorInfo, and the field violations of its BadRequest."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: Mapping[str, str]
    fields: Mapping[str, str]


def refusal_of(error: grpc.RpcError) -> Refusal:
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    assert details is not None, f"{error.code()} without details: {error.details()}"
    status = status_pb2.Status.FromString(details)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    return _read(error.code(), status)


def refusal_in(status: types_pb2.Status) -> Refusal:
    """Read the error of a batch item, which has the wire format of google.rpc.Status."""
    codes = {code.value[0]: code for code in grpc.StatusCode}
    return _read(codes[status.code], status_pb2.Status.FromString(status.SerializeToString()))


def _read(code: grpc.StatusCode, status: status_pb2.Status) -> Refusal:
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "draftline"
    for detail in status.details[1:]:
        assert detail.Unpack(bad) or detail.Unpack(retry)
    assert (retry.retry_delay.ToMicroseconds() > 0) is (code is grpc.StatusCode.RESOURCE_EXHAUSTED)
    fields = {violation.field: violation.description for violation in bad.field_violations}
    return Refusal(code, status.message, info.reason, dict(info.metadata), fields)


def refused(call: Any, request: Any, **options: Any) -> Refusal:
    """Return the error of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=TIMEOUT_S, **options)
    return refusal_of(caught.value)


def document(value: Any) -> types_pb2.Document:
    return types_pb2.Document(json=value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def struct(value: dict[str, Any]) -> types_pb2.Document:
    message = struct_pb2.Struct()
    message.update(value)
    return types_pb2.Document(struct=message)


def content_of(record: types_pb2.Record) -> Any:
    """Return the content, with exact numbers if it came as text."""
    if record.content.WhichOneof("encoding") == "struct":
        return json_format.MessageToDict(record.content.struct)
    return exact(record.content.json)


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def nested(levels: int, key: str = "n") -> dict[str, Any]:
    """Return an object with this many nested levels."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {key: value}
    return value


@dataclass(frozen=True)
class Records:
    """Shortcuts for calls of the content service for one collection of one tenant."""

    stub: Any
    tenant_id: str
    collection: str = "films"

    def ids(self, record_id: str) -> dict[str, str]:
        return {"tenant_id": self.tenant_id, "collection": self.collection, "record_id": record_id}

    def create(self, record_id: str, content: Any, **options: Any) -> types_pb2.Record:
        return self.stub.CreateContent(self.creation(record_id, content, **options), timeout=TIMEOUT_S).record

    def creation(self, record_id: str, content: Any, **options: Any) -> content_pb2.CreateContentRequest:
        return content_pb2.CreateContentRequest(**self.ids(record_id), content=document(content), **options)

    def get(self, record_id: str, **options: Any) -> types_pb2.Record:
        options.setdefault("response_encoding", types_pb2.ENCODING_JSON)
        request = content_pb2.GetContentRequest(**self.ids(record_id), **options)
        return self.stub.GetContent(request, timeout=TIMEOUT_S).record

    def content(self, record_id: str) -> Any:
        return content_of(self.get(record_id))

    def is_missing(self, record_id: str) -> bool:
        request = content_pb2.GetContentRequest(**self.ids(record_id), show_deleted=True)
        return refused(self.stub.GetContent, request).reason == "RECORD_NOT_FOUND"

    def patching(self, record_id: str, delta: Any = None, **options: Any) -> content_pb2.PatchContentRequest:
        if delta is not None:
            options["delta"] = document(delta)
        options.setdefault("response_encoding", types_pb2.ENCODING_JSON)
        return content_pb2.PatchContentRequest(**self.ids(record_id), **options)

    def patch(self, record_id: str, delta: Any = None, **options: Any) -> content_pb2.PatchContentResponse:
        return self.stub.PatchContent(self.patching(record_id, delta, **options), timeout=TIMEOUT_S)

    def delete(self, record_id: str, **options: Any) -> content_pb2.DeleteContentResponse:
        request = content_pb2.DeleteContentRequest(**self.ids(record_id), **options)
        return self.stub.DeleteContent(request, timeout=TIMEOUT_S)

    def purge(self, *record_ids: str, **options: Any) -> content_pb2.PurgeContentResponse:
        return self.stub.PurgeContent(self.purging(*record_ids, **options), timeout=TIMEOUT_S)

    def purging(self, *record_ids: str, **options: Any) -> content_pb2.PurgeContentRequest:
        return content_pb2.PurgeContentRequest(
            tenant_id=self.tenant_id, collection=self.collection, record_ids=record_ids, **options
        )

    def undelete(self, record_id: str, **options: Any) -> types_pb2.Record:
        request = content_pb2.UndeleteContentRequest(**self.ids(record_id), **options)
        return self.stub.UndeleteContent(request, timeout=TIMEOUT_S).record


def steps(*operations: dict[str, Any]) -> types_pb2.OperationList:
    """Operations as RFC 6902 writes them."""
    messages = types_pb2.OperationList()
    for operation in operations:
        message = messages.operations.add(op=operation["op"], path=operation["path"])
        if "from" in operation:
            setattr(message, "from", operation["from"])
        if "value" in operation:
            message.value.json = json.dumps(operation["value"], ensure_ascii=False)
    return messages
