"""Callers that write continuously and repeat a call with its request id until they know its outcome.

Some have no request ids; they send each call once and rely on the error.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import grpc
from draftline.v1 import content_pb2, content_pb2_grpc, draft_pb2, draft_pb2_grpc, types_pb2
from google.rpc import error_details_pb2, status_pb2

from support.call_history import Call, Content, End, History
from support.responses import document

COLLECTION = "kept"
ATTEMPT_S = 10.0  # the deadline of each attempt
PAUSE_S = (0.02, 0.2)  # between two
NOTHING_CHANGED = "nothing was changed"
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)
# What a caller may be told of a service or a database that is away or busy; without a reason by grpc itself.
PASSING = {
    (grpc.StatusCode.UNAVAILABLE, ""),
    (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"),
    (grpc.StatusCode.UNAVAILABLE, "DRAINING"),
    (grpc.StatusCode.DEADLINE_EXCEEDED, ""),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL"),
    (grpc.StatusCode.ABORTED, "CONTENTION"),
}


def increment(content: Content, _: str) -> Content:
    return {**content, "n": content.get("n", 0) + 1}


def unite(content: Content, call_id: str) -> Content:
    return {**content, "tags": [*content.get("tags", []), call_id]}


def replace(_: Content, call_id: str) -> Content:
    return {"by": call_id}


def sign(key: str) -> Callable[[Content, str], Content]:
    return lambda content, call_id: {**content, key: call_id}


@dataclass(frozen=True)
class Sending:
    """Sends a call, and returns the versions that it wrote, or None if the response has none."""

    effects: Mapping[str, Callable[[Content, str], Content]]
    send: Callable[[str, str], Awaitable[Mapping[str, int] | None]]  # with the call's id and a request id or ""


class Writer:
    """One user, who writes sequentially."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        tenant_id: str,
        name: str,
        history: History,
        *,
        has_ids: bool = True,
        attempt_s: float = ATTEMPT_S,
    ) -> None:
        self._content = content_pb2_grpc.ContentServiceStub(channel)
        self._drafts = draft_pb2_grpc.DraftServiceStub(channel)
        self._ids = {"tenant_id": tenant_id, "collection": COLLECTION}
        self._metadata = (("x-draftline-user", name),)
        self._name = name
        self._history = history
        self._has_ids = has_ids
        self._attempt_s = attempt_s
        self._random = random.Random(f"{tenant_id} {name}")
        self._number = 0
        kinds = {self._increment: 10, self._unite: 4, self._batch: 3, self._create: 2, self._import: 1}
        self._kinds: dict[Callable[[], Sending], int] = {**kinds, **({self._commit: 3} if has_ids else {})}

    async def work(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            make = self._random.choices(list(self._kinds), list(self._kinds.values()))[0]
            self._number += 1
            await self._call(f"{self._name}:{self._number}", make())

    async def _call(self, call_id: str, sending: Sending) -> None:
        call = Call(call_id, sending.effects, time.monotonic())
        self._history.begin(call)
        request_id = str(uuid.uuid4()) if self._has_ids else ""
        while True:
            try:
                versions = await sending.send(call_id, request_id)
            except grpc.aio.AioRpcError as error:
                self._history.refusals[error.code().name] += 1
                if (error.code(), reason_of(error)) not in PASSING:
                    self._history.surprises.append(f"{call_id}: {error.code()} {reason_of(error)} {error.details()}")
                    return
                await asyncio.sleep(self._random.uniform(*PAUSE_S))
                if not self._has_ids:
                    is_refused = NOTHING_CHANGED in (error.details() or "")
                    self._history.close(call, End.REFUSED if is_refused else End.UNKNOWN, None, time.monotonic())
                    return
            else:
                self._history.close(call, End.DONE, versions, time.monotonic())
                return

    def _some(self, prefix: str, of: int, most: int) -> list[str]:
        return [f"{prefix}-{number}" for number in self._random.sample(range(of), self._random.randint(2, most))]

    def _patching(self, record_id: str, **change: Any) -> content_pb2.PatchContentRequest:
        return content_pb2.PatchContentRequest(
            **self._ids, record_id=record_id, allow_missing=True, response_encoding=types_pb2.ENCODING_JSON, **change
        )

    def _increment(self) -> Sending:
        record_id = f"counter-{self._random.randrange(64)}"
        step = _step("increment", "/n", "1")
        return Sending(
            {record_id: increment}, lambda *ids: self._patch(self._patching(record_id, operations=step), *ids)
        )

    def _unite(self) -> Sending:
        # A record takes 50 and no more, so that its content stays small.
        record_id = f"tags-{self._name}-{self._number // 50}"

        def send(call_id: str, request_id: str) -> Awaitable[Mapping[str, int]]:
            step = _step("union", "/tags", f'["{call_id}"]')
            return self._patch(self._patching(record_id, operations=step), call_id, request_id)

        return Sending({record_id: unite}, send)

    async def _patch(
        self, request: content_pb2.PatchContentRequest, call_id: str, request_id: str
    ) -> Mapping[str, int]:
        request.change_reason, request.request_id = call_id, request_id
        answer = await self._content.PatchContent(request, **self._options())
        return _versions([answer.record])

    def _batch(self) -> Sending:
        record_ids = self._some("batch", 40, 6)

        async def send(call_id: str, request_id: str) -> Mapping[str, int]:
            step = _step("increment", "/n", "1")
            request = content_pb2.BatchPatchContentRequest(
                tenant_id=self._ids["tenant_id"],
                requests=[self._patching(record_id, operations=step) for record_id in record_ids],
                change_reason=call_id,
                request_id=request_id,
            )
            answer = await self._content.BatchPatchContent(request, **self._options())
            return _versions(result.record for result in answer.results)

        return Sending(dict.fromkeys(record_ids, increment), send)

    def _create(self) -> Sending:
        record_id = f"new-{self._name}-{self._number}"

        async def send(call_id: str, request_id: str) -> Mapping[str, int]:
            request = content_pb2.CreateContentRequest(
                **self._ids, record_id=record_id, content=document({"by": call_id}), change_reason=call_id,
                request_id=request_id,
            )  # fmt: skip
            return _versions([(await self._content.CreateContent(request, **self._options())).record])

        return Sending({record_id: replace}, send)

    def _import(self) -> Sending:
        record_ids = self._some("import", 20, 6)

        async def send(call_id: str, request_id: str) -> None:
            header = content_pb2.ImportHeader(**self._ids, change_reason=call_id, request_id=request_id)
            rows = [content_pb2.ImportRecord(record_id=each, content=document({"by": call_id})) for each in record_ids]
            parts = [
                content_pb2.ImportContentRequest(header=header),
                content_pb2.ImportContentRequest(chunk=content_pb2.ImportChunk(records=rows)),
                content_pb2.ImportContentRequest(end=content_pb2.ImportEnd(record_count=len(rows))),
            ]
            # grpc.aio tells in ways of its own that a call was cut off which still sent (grpc/grpc#36066).
            try:
                await self._content.ImportContent(iter(parts), **self._options())
            except asyncio.CancelledError:
                if cast("asyncio.Task[None]", asyncio.current_task()).cancelling():
                    raise
                raise _cut_off() from None
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INTERNAL and not reason_of(error):
                    raise _cut_off() from error
                raise

        return Sending(dict.fromkeys(record_ids, replace), send)

    def _commit(self) -> Sending:
        """Save a draft of several records and commit it; only the commit writes records."""
        record_ids, session = self._some("drafted", 30, 5), f"{self._name}-{self._number}"
        save_id = str(uuid.uuid4())

        async def send(call_id: str, request_id: str) -> Mapping[str, int]:
            edits = [draft_pb2.DraftEdit(record_id=each, delta=document({self._name: call_id})) for each in record_ids]
            saving = draft_pb2.SaveDraftRequest(
                **self._ids,
                session_id=session,
                move_to_session=True,
                edits=edits,
                omit_content=True,
                request_id=save_id,
            )
            await self._drafts.SaveDraft(saving, **self._options())
            committing = draft_pb2.CommitRequest(
                **self._ids, session_id=session, change_reason=call_id, request_id=request_id
            )
            answer = await self._drafts.Commit(committing, **self._options())
            return _versions(result.record for result in answer.results)

        return Sending(dict.fromkeys(record_ids, sign(self._name)), send)

    def _options(self) -> dict[str, Any]:
        return {"timeout": self._attempt_s, "metadata": self._metadata}


async def prepare(channel: grpc.aio.Channel, tenant_id: str, history: History) -> None:
    """Create the records that are drafted."""
    stub = content_pb2_grpc.ContentServiceStub(channel)
    for number in range(30):
        record_id = f"drafted-{number}"
        call = Call(f"setup:{number}", {record_id: replace}, time.monotonic())
        history.begin(call)
        request = content_pb2.CreateContentRequest(
            tenant_id=tenant_id, collection=COLLECTION, record_id=record_id, content=document({"by": call.call_id}),
            change_reason=call.call_id,
        )  # fmt: skip
        answer = await stub.CreateContent(request, timeout=ATTEMPT_S, wait_for_ready=True)
        history.close(call, End.DONE, _versions([answer.record]), time.monotonic())


def _cut_off() -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, metadata, metadata, "cut off")


def _step(op: str, path: str, value: str) -> types_pb2.OperationList:
    step = types_pb2.Operation(op=op, path=path, value=types_pb2.JsonValue(json=value))
    return types_pb2.OperationList(operations=[step])


def _versions(records: Any) -> Mapping[str, int]:
    return {record.record_id: record.version for record in records}


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the service's error reason; empty for errors of grpc itself."""
    details = dict(tuple(error.trailing_metadata() or ())).get("grpc-status-details-bin")
    info = error_details_pb2.ErrorInfo()
    if details is not None:
        status_pb2.Status.FromString(details).details[0].Unpack(info)
    return info.reason
