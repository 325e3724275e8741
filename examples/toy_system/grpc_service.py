"""The toy system over gRPC: draftline.v1.UpstreamService."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
from draftline import documents
from draftline.v1 import types_pb2, upstream_pb2, upstream_pb2_grpc

from .system import KEYS_S, MAX_BATCH, LostResponseError, Part, PartWrite, RefusedError, System


def document(content: dict[str, Any]) -> types_pb2.Document:
    return documents.document(content)


def record(part: Part) -> upstream_pb2.RemoteRecord:
    message = upstream_pb2.RemoteRecord(
        remote_id=part.id, remote_version=str(part.version), record_id=part.reference, deleted=part.deleted
    )
    if not part.deleted:
        message.document.CopyFrom(document(part.content))
    return message


class UpstreamService(upstream_pb2_grpc.UpstreamServiceServicer):
    """The system over gRPC."""

    def __init__(self, system: System) -> None:
        self._system = system

    def Describe(self, request: Any, context: Any) -> upstream_pb2.DescribeResponse:  # noqa: ARG002, N802
        return upstream_pb2.DescribeResponse(
            idempotency_keys_s=KEYS_S, conditional_writes=True, client_reference=True, ordered_versions=True,
            returns_stored=True, changes=True, deletions_in_changes=True, snapshots=True, lookups=True,
            max_batch=MAX_BATCH, atomic_batch=True,
        )  # fmt: skip

    def Write(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._throttle(context)
        is_error = self._system.happens("error")
        if is_error and self._system.happens("error"):
            context.abort(grpc.StatusCode.INTERNAL, "an error before the write")
        try:
            response = self._system.deliver(lambda: self._written(request))
        except LostResponseError:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost")
        if is_error:
            context.abort(grpc.StatusCode.INTERNAL, "an error after the write")
        return response

    def ReadChanges(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        self._throttle(context)
        cursor = int(request.cursor or 0)
        while True:
            parts, after = self._system.changes(cursor)
            if after == cursor:
                return
            cursor = after
            page = upstream_pb2.ReadPage(records=map(record, parts), cursor=str(cursor))
            self._system.delay()
            yield upstream_pb2.ReadChangesResponse(page=page)

    def ReadSnapshot(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        self._throttle(context)
        cursor, changes_cursor = request.cursor, ""
        while not changes_cursor:
            parts, cursor, changes_cursor = self._system.snapshot(cursor)
            page = upstream_pb2.ReadPage(records=map(record, parts), cursor=cursor, changes_cursor=changes_cursor)
            self._system.delay()
            yield upstream_pb2.ReadSnapshotResponse(page=page)

    def Lookup(self, request: Any, context: grpc.ServicerContext) -> upstream_pb2.LookupResponse:  # noqa: N802
        self._throttle(context)
        missing = (self._system.parts.get(each) or Part(each, "", {}, deleted=True) for each in request.remote_ids)
        return upstream_pb2.LookupResponse(records=map(record, missing))

    def _throttle(self, context: grpc.ServicerContext) -> None:
        if self._system.happens("throttle"):
            context.set_trailing_metadata((("retry-after", str(self._system.retry_after_s)),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")

    def _written(self, request: Any) -> upstream_pb2.WriteResponse:
        writes = map(self._write, request.items)
        results = self._system.write_all(list(writes)) if request.atomic else map(self._result, writes)
        return upstream_pb2.WriteResponse(outcomes=map(self._outcome, results))

    def _result(self, write: PartWrite) -> Part | RefusedError:
        (result,) = self._system.write_all([write])
        return result

    def _write(self, item: Any) -> PartWrite:
        kind = item.WhichOneof("write")
        expected = item.expected_remote_version if item.HasField("expected_remote_version") else None
        edits = [
            (
                each.path,
                not each.HasField("value"),
                documents.json_value_of(each.value) if each.HasField("value") else None,
            )
            for each in item.update.edits
        ]
        content = documents.content_of(item.create) if kind == "create" else None
        return PartWrite(kind, item.idempotency_key, item.remote_id, item.record_id, content, edits, expected)

    def _outcome(self, result: Part | RefusedError) -> upstream_pb2.WriteOutcome:
        if isinstance(result, RefusedError):
            return self._refused(result)
        applied = upstream_pb2.Applied(remote_id=result.id, remote_version=str(result.version))
        if not result.deleted:
            applied.stored.CopyFrom(record(result))
        return upstream_pb2.WriteOutcome(applied=applied)

    def _refused(self, refusal: RefusedError) -> upstream_pb2.WriteOutcome:
        now = record(refusal.part) if refusal.part else None
        if refusal.status == 404:
            return upstream_pb2.WriteOutcome(gone=upstream_pb2.Gone())
        if refusal.status == 409:
            return upstream_pb2.WriteOutcome(exists=upstream_pb2.Exists(record=now))
        if refusal.status == 412:
            return upstream_pb2.WriteOutcome(stale=upstream_pb2.Stale(record=now))
        error: Any = refusal.error or {}
        problems = [upstream_pb2.FieldProblem(**each) for each in error["fields"]]
        refused = upstream_pb2.Refused(reason=error["code"], message=error["message"], fields=problems)
        return upstream_pb2.WriteOutcome(refused=refused)
