"""StreamPatches: the writes of one stream, applied concurrently, each with an outcome of its own.

Every write runs as a call of its own does: it is validated, authorized, admitted and made idempotent by itself, so a
stream gets no more than its tenant's fair share, and a write may be repeated over another stream or by a unary call.

- Writes of one record run one after the other; all others run concurrently, and patches share statements.
- A stream is read only while few writes are in progress and little is unsent, so its memory is bounded and flow
  control slows the sender down.
- An error of a write is its outcome. The stream itself fails only if its messages cannot be read, its caller loses
  access, sends nothing or reads nothing for too long, or the server shuts down; outcomes that are known are sent first.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import grpc
from draftline.v1 import content_pb2
from google.protobuf.message import DecodeError

from ..auth.permissions import Permission
from ..auth.revocation import cancel_when_revoked
from ..concurrency.call_context import call_deadline
from ..domain.errors import (
    WRITE_IS_UNKNOWN,
    DeadlineExceededError,
    DraftlineError,
    DrainingError,
    InvalidFieldError,
    ReaderTooSlowError,
    UndecodableRequestError,
)
from ..domain.records import Actor
from ..observability.telemetry import Call
from .call_tracker import CallTracker
from .idempotency import request_of
from .pipeline import Context, authorize, serialize, set_deadline
from .redaction import redacted
from .status import forget, internal_error, to_status
from .validation import check, fields_of, parser

Item = content_pb2.StreamPatchesItem
Apply = Callable[[Any, Actor], Awaitable[Any]]

# A write of a stream is the same request as a call of this method, which has this response.
UNARY: Mapping[str, tuple[str, Any]] = {
    "patch": ("draftline.v1.ContentService.PatchContent", content_pb2.PatchContentResponse),
    "create": ("draftline.v1.ContentService.CreateContent", content_pb2.CreateContentResponse),
    "delete": ("draftline.v1.ContentService.DeleteContent", content_pb2.DeleteContentResponse),
}
MAX_IN_PROGRESS = 256  # writes of one stream that run or whose outcomes are not sent yet
MAX_UNSENT_BYTES = 8 * 1024 * 1024  # outcomes of one stream that are not sent yet, as estimated before they are known
MAX_MESSAGE_BYTES = 1024 * 1024  # a message of outcomes ends with the one that reaches this size
ITEMS, MAX_ITEMS = content_pb2.StreamPatchesRequest.ITEMS_FIELD_NUMBER, 1_000  # in one message, by the contract

_parse_item = parser(Item)


class WriteStream:
    """One call of StreamPatches."""

    def __init__(
        self, calls: CallTracker, context: Context, call: Call, apply: Apply, needed: frozenset[Permission]
    ) -> None:
        """Create the stream of a call that has sent nothing yet. `apply` applies one write."""
        self._calls = calls
        self._context = context
        self._call = call
        self._apply = apply
        self._needed = needed
        self._actor: Actor  # of the first write, set before it starts
        self._deadline: float | None = None
        self._count = 0  # writes received
        self._in_progress: set[asyncio.Task[None]] = set()
        self._last_of_record: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._results: deque[content_pb2.StreamPatchesResult] = deque()
        self._unsent = 0  # writes that run or whose outcomes are not sent yet
        self._unsent_bytes = 0  # of the known outcomes
        self._largest = 1  # bytes of the largest outcome so far
        self._has_room, self._has_results = asyncio.Event(), asyncio.Event()
        self._is_read = False  # no further write will start

    async def run(self) -> None:
        """Apply the writes until the caller has sent all and read their outcomes."""
        timeout_s = set_deadline(self._context)
        self._deadline = call_deadline.get() if timeout_s is not None else None
        first = _items(await self._calls.first_message(self._context, self._call))
        opening: Any = Item.FromString(first[0]) if isinstance(first[0], bytes) else first[0]
        self._actor = actor = authorize(self._calls, _write_of(opening), self._needed, self._call)

        async def check_caller() -> None:
            identity = await self._calls.authenticator.identify(self._context.invocation_metadata())
            identity.actor(actor.tenant_id, self._needed)

        try:
            async with cancel_when_revoked(self._call.identity, check_caller), asyncio.TaskGroup() as group:
                sender = group.create_task(self._send_results(), name="stream results")
                try:
                    await self._read(first)
                finally:
                    self._is_read = True
                    self._has_results.set()
                await sender
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            for task in self._in_progress:
                task.cancel()

    async def _read(self, items: Sequence[Any]) -> None:
        """Start the writes of all messages. If that fails, wait for those that run before raising the error."""
        draining = asyncio.ensure_future(self._calls.drain_started.wait())
        try:
            while True:
                for item in items:
                    await self._start(item)
                data = await self._next_message(draining)
                if data is grpc.aio.EOF:
                    return
                items = _items(data)
        except DraftlineError:
            await self._finish()
            raise
        finally:
            draining.cancel()

    async def _finish(self) -> None:
        """Wait until the outcomes of all started writes are sent."""
        while self._unsent:
            self._has_room.clear()
            await self._has_room.wait()

    async def _next_message(self, draining: asyncio.Future[Any]) -> Any:
        """Return the next message as bytes, or grpc.aio.EOF."""
        idle_s = self._calls.idle_timeout_s
        reading = asyncio.ensure_future(self._calls.next_message(self._context, self._call))
        try:
            while not reading.done():
                await asyncio.wait((reading, draining), timeout=idle_s, return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    break
                if draining.done():
                    raise DrainingError(
                        "the server is shutting down; send the writes without an outcome again on another server"
                    )
                if not self._unsent:
                    problem = f"the stream sent no write for {idle_s:g} s; open another one for further writes"
                    raise DeadlineExceededError(problem)
            return reading.result()
        finally:
            reading.cancel()

    async def _start(self, item: Any) -> None:
        """Start a write, which may still be bytes, once there is room for its outcome."""
        while self._unsent and (
            self._unsent >= MAX_IN_PROGRESS
            or self._unsent_bytes + len(self._in_progress) * self._largest >= MAX_UNSENT_BYTES
        ):
            self._has_room.clear()
            await self._has_room.wait()
        index, self._count = self._count, self._count + 1
        self._unsent += 1
        try:
            message: Any = _parse_item(item) if isinstance(item, bytes) else item
        except DraftlineError as error:
            self._end(content_pb2.StreamPatchesResult(index=index, status=to_status(error)))
            return
        write = _write_of(message)
        key = write.collection, write.record_id
        task = asyncio.create_task(self._run(index, message, self._last_of_record.get(key)), name="streamed write")
        self._last_of_record[key] = task
        self._in_progress.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._in_progress.discard(task)
            if self._last_of_record.get(key) is task:
                del self._last_of_record[key]

        task.add_done_callback(ended)

    async def _run(self, index: int, item: Item, previous: asyncio.Task[None] | None) -> None:
        """Run a write after the previous one of its record, and queue its outcome."""
        if previous is not None:
            with suppress(asyncio.CancelledError):
                await asyncio.shield(previous)
        result = content_pb2.StreamPatchesResult(index=index)
        try:
            response = await self._applied(item)
        except Exception as error:
            reported = error if isinstance(error, DraftlineError) else internal_error(error, self._call.method.name)
            result.status.CopyFrom(to_status(reported))
            forget(error)
        else:
            result.status.SetInParent()
            if response.HasField("record"):
                result.record.CopyFrom(response.record)
            result.changed_fields.extend(getattr(response, "changed_fields", ()))
        self._end(result)

    async def _applied(self, item: Item) -> Any:
        actor = self._actor
        limit_s = self._calls.call_timeout_s
        ends_at = time.monotonic() + limit_s
        call_deadline.set(ends_at if self._deadline is None else min(ends_at, self._deadline))
        try:
            async with asyncio.timeout(limit_s), self._calls.admission.next_slot(actor.tenant_id):
                kind = item.WhichOneof("write")
                if kind is None:
                    raise InvalidFieldError.of("write", f"exactly one of {', '.join(UNARY)} must be set")
                (method, response_type), write = UNARY[kind], _write_of(item)
                if write.tenant_id != actor.tenant_id:
                    raise InvalidFieldError.of("tenant_id", "must equal the tenant_id of the first write of the stream")
                check(write)
                request = request_of(write, method)
                if request is not None:
                    actor = Actor(actor.tenant_id, actor.user_id, request)
                applied = self._calls.idempotency.call(self._apply, write, actor, response_type)
                may_read = self._call.identity.may_read(actor.tenant_id)
                return await (applied if may_read else redacted(applied))
        except TimeoutError:
            raise DeadlineExceededError(f"the write took longer than {limit_s:g} s; {WRITE_IS_UNKNOWN}") from None

    def _end(self, result: content_pb2.StreamPatchesResult) -> None:
        size = result.ByteSize()
        self._largest = max(self._largest, size)
        self._unsent_bytes += size
        self._results.append(result)
        self._has_results.set()

    async def _send_results(self) -> None:
        """Send outcomes as they become known, as many per message as there are, until all are sent."""
        tenant_id = self._actor.tenant_id
        while self._unsent or not self._is_read:
            if not self._results:
                self._has_results.clear()
                await self._has_results.wait()
                continue
            self._calls.on_write(tenant_id)
            results = list(self._next_results())
            data = serialize(content_pb2.StreamPatchesResponse(results=results), self._call)
            with self._calls.send_buffer.track_message(self._call.peer, tenant_id, len(data)):
                await self._write(data)
            self._unsent -= len(results)
            self._has_room.set()

    def _next_results(self) -> Iterator[content_pb2.StreamPatchesResult]:
        """Take the known outcomes that fit into one message; at least one."""
        total = 0
        while self._results and total < MAX_MESSAGE_BYTES:
            result = self._results.popleft()
            size = result.ByteSize()
            self._unsent_bytes -= size
            total += size
            yield result

    async def _write(self, data: bytes) -> None:
        timeout_s = self._calls.idle_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._context.write(data)
        except TimeoutError:
            problem = f"the caller read no outcome for {timeout_s:g} s; send the writes without an outcome again"
            raise ReaderTooSlowError(problem) from None


def _write_of(item: Any) -> Any:
    """Return the write of an item; an empty one if none is set."""
    return getattr(item, item.WhichOneof("write") or "patch")


def _items(data: Any) -> Sequence[Any]:
    """Return the writes of a message: parsed, or as bytes if some of them may be malformed.

    Raises UndecodableRequestError or InvalidFieldError if the message as a whole is wrong.
    """
    try:
        message = content_pb2.StreamPatchesRequest.FromString(data)
    except DecodeError:
        name = content_pb2.StreamPatchesRequest.DESCRIPTOR.full_name
        raise UndecodableRequestError(f"the request is not a valid {name}") from None
    if not 1 <= len(message.items) <= MAX_ITEMS:
        raise InvalidFieldError.of("items", f"must contain 1 to {MAX_ITEMS} writes in each message")
    if message.ByteSize() == len(data):  # canonical encoding, which no caller's mistake breaks
        return message.items
    return [payload for number, payload in fields_of(data) if number == ITEMS]
