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
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from draftline.v1 import content_pb2

from ..auth.permissions import Permission
from ..auth.revocation import cancel_when_revoked
from ..concurrency.call_context import call_deadline
from ..domain.errors import (
    WRITE_IS_UNKNOWN,
    DeadlineExceededError,
    DraftlineError,
    DrainingError,
    InvalidFieldError,
)
from ..domain.records import Actor
from ..observability.telemetry import Call
from .call_tracker import CallTracker
from .idempotency import request_of
from .ordered_runner import OrderedRunner, StreamedWrite
from .patch_groups import PatchGroups
from .pipeline import Context, authorize, send, set_deadline
from .redaction import redacted
from .status import forget, internal_error, to_status
from .stream_items import UNARY, Item, is_plain_patch, items_of, parse_item, write_of
from .validation import check

MAX_IN_PROGRESS = 256  # writes of one stream that run or whose outcomes are not sent yet
# The outcomes of one stream that are not sent yet, estimated before they are known, and separately the requests and
# the known outcomes of writes whose outcomes are not sent yet.
MAX_UNSENT_BYTES = 8 * 1024 * 1024
MAX_MESSAGE_BYTES = 1024 * 1024  # of several outcomes
CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class WriteStream:
    """One call of StreamPatches."""

    def __init__(
        self, calls: CallTracker, context: Context, call: Call, service: Any, needed: frozenset[Permission]
    ) -> None:
        """Create the stream of a call that has sent nothing yet. `service` is the ContentService."""
        self._calls = calls
        self._context = context
        self._call = call
        self._service = service
        self._needed = needed
        self._actor: Actor  # of the first write, set before it starts
        self._may_read = False  # the caller may see content
        self._deadline: float | None = None
        self._runner: OrderedRunner
        self._groups: PatchGroups
        self._count = 0  # writes received
        self._results: deque[tuple[int, bytes]] = deque()  # the outcomes to send, with the bytes of their requests
        self._unsent = 0  # writes that run or whose outcomes are not sent yet
        self._request_bytes = 0  # of these writes
        self._unsent_bytes = 0  # of the known outcomes
        self._expected_bytes = MAX_UNSENT_BYTES // 16  # of the next outcome: an estimate, high until some are known
        self.applying = 0  # writes that run, except those that wait until outcomes are sent
        self._turn = asyncio.Lock()  # of the write that waits for an admission slot
        self._has_room, self._has_results = asyncio.Event(), asyncio.Event()
        self._is_read = False  # no further write will start

    async def run(self) -> None:
        """Apply the writes until the caller has sent all and read their outcomes."""
        timeout_s = set_deadline(self._context)
        self._deadline = call_deadline.get() if timeout_s is not None else None
        first = items_of(await self._calls.first_message(self._context, self._call))
        opening: Any = Item.FromString(first[0]) if isinstance(first[0], bytes) else first[0]
        self._actor = actor = authorize(self._calls, write_of(opening), self._needed, self._call)
        self._may_read = self._call.identity.may_read(actor.tenant_id)

        async def check_caller() -> None:
            identity = await self._calls.authenticator.identify(self._context.invocation_metadata())
            identity.actor(actor.tenant_id, self._needed)
            self._may_read = identity.may_read(actor.tenant_id)

        try:
            async with cancel_when_revoked(self._call.identity, check_caller), asyncio.TaskGroup() as group:
                limit_s = self._calls.call_timeout_s
                self._runner = runner = OrderedRunner(self._run, self._run_together, limit_s, self._deadline, group)
                self._groups = PatchGroups(self._service, self, self._calls.admission, runner, actor)
                sender = group.create_task(self._send_results(), name="stream results")
                limits = group.create_task(self._runner.cancel_late(), name="stream time limits")
                try:
                    await self._read(first)
                finally:
                    self._is_read = True
                    self._has_results.set()
                await sender
                limits.cancel()
                self._runner.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

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
                items = items_of(data)
        except DraftlineError:
            await self._wait_for_room(lambda: not self._unsent)
            raise
        finally:
            draining.cancel()

    async def _wait_for_room(self, has_room: Callable[[], bool]) -> None:
        while not has_room():
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
        """Start a write, which may still be bytes, once there is room for it."""
        if not self._may_start():
            await self._wait_for_room(self._may_start)
        size = len(item) if isinstance(item, bytes) else item.ByteSize()
        index, self._count = self._count, self._count + 1
        self._unsent += 1
        self._request_bytes += size
        try:
            message: Any = parse_item(item) if isinstance(item, bytes) else item
        except DraftlineError as error:
            outcome = content_pb2.StreamPatchesResponse()
            outcome.results.add(index=index, status=to_status(error))
            self._end(outcome, size)
            return
        write = write_of(message)
        key = (write.collection, write.record_id) if write.record_id else None  # without an id, it is a new record
        is_shared = self._may_read and is_plain_patch(message, self._actor.tenant_id)
        self._runner.add(StreamedWrite(index, message, size, key, is_shared=is_shared))

    def _may_start(self) -> bool:
        has_memory = self._request_bytes + self._unsent_bytes < MAX_UNSENT_BYTES
        return not self._unsent or (self._unsent < MAX_IN_PROGRESS and has_memory)

    def _may_apply(self) -> bool:
        """Return whether the outcomes that are not sent leave room for those that are being made and another one."""
        return self._unsent_bytes + self.applying * self._expected_bytes < MAX_UNSENT_BYTES

    async def room_for(self, count: int) -> int:
        """Return how many of so many writes may be applied now; wait until it is at least one."""
        await self._wait_for_room(self._may_apply)
        free = MAX_UNSENT_BYTES - self._unsent_bytes - self.applying * self._expected_bytes
        return max(1, min(count, free // self._expected_bytes))

    async def _run_together(self, writes: Sequence[StreamedWrite]) -> None:
        await self._groups.run(writes)

    def complete(self, write: StreamedWrite, outcome: content_pb2.StreamPatchesResponse) -> None:
        """Queue the outcome of a write."""
        self._end(outcome, write.size_bytes)

    def complete_late(self, write: StreamedWrite) -> None:
        """Queue the outcome of a write that exceeded its time limit."""
        outcome = content_pb2.StreamPatchesResponse()
        outcome.results.add(index=write.index).status.CopyFrom(to_status(self._late_error()))
        self._end(outcome, write.size_bytes)

    def _late_error(self) -> DraftlineError:
        problem = f"the write took longer than {self._calls.call_timeout_s:g} s; {WRITE_IS_UNKNOWN}"
        return DeadlineExceededError(problem)

    async def _run(self, write: StreamedWrite) -> None:
        """Run a write and queue its outcome."""
        outcome = content_pb2.StreamPatchesResponse()
        result = outcome.results.add(index=write.index)
        if write.is_late:  # while it waited to run by itself
            self.complete_late(write)
            return
        try:
            if not self._may_apply():
                await self._wait_for_room(self._may_apply)
            self.applying += 1
            try:
                response = await self._applied(write)
            finally:
                self.applying -= 1
        except asyncio.CancelledError:
            if not write.is_late or write.task is None or write.task.uncancel():
                raise
            result.status.CopyFrom(to_status(self._late_error()))
        except Exception as error:
            reported = error if isinstance(error, DraftlineError) else internal_error(error, self._call.method.name)
            result.status.CopyFrom(to_status(reported))
            forget(error)
        else:
            result.status.SetInParent()
            if response.HasField("record"):
                result.record.CopyFrom(response.record)
            result.changed_fields.extend(getattr(response, "changed_fields", ()))
            result.warnings.extend(getattr(response, "warnings", ()))
        self._end(outcome, write.size_bytes)

    async def _applied(self, streamed: StreamedWrite) -> Any:
        item, actor = streamed.item, self._actor
        call_deadline.set(streamed.ends_at)
        async with self._calls.admission.next_slot(actor.tenant_id, self._turn):
            kind = item.WhichOneof("write")
            if kind is None:
                raise InvalidFieldError.of("write", f"exactly one of {', '.join(UNARY)} must be set")
            (method, response_type), write = UNARY[kind], getattr(item, kind)
            if write.tenant_id != actor.tenant_id:
                raise InvalidFieldError.of("tenant_id", "must equal the tenant_id of the first write of the stream")
            check(write)
            request = request_of(write, method)
            if request is not None:
                actor = Actor(actor.tenant_id, actor.user_id, request)
            apply = self._service.StreamPatches if streamed.error is None else _raising(streamed.error)
            applied = self._calls.idempotency.call(apply, write, actor, response_type)
            if not self._may_read:
                return await redacted(applied)
            return await self._calls.conditions.add(write, actor, applied)

    def _end(self, outcome: content_pb2.StreamPatchesResponse, request_bytes: int) -> None:
        """Queue the outcome of a write. It is serialized only here: messages of a stream are concatenations of it."""
        data, code = outcome.SerializeToString(), CODE_NAMES[outcome.results[0].status.code]
        self._call.writes += 1
        self._call.failed_writes += code != "OK"
        self._calls.telemetry.streamed_writes[code] += 1
        self._expected_bytes = max(len(data), self._expected_bytes // 2)
        self._unsent_bytes += len(data)
        self._results.append((request_bytes, data))
        self._has_results.set()
        self._has_room.set()

    async def _send_results(self) -> None:
        """Send outcomes as they become known, as many per message as there are, until all are sent."""
        tenant_id = self._actor.tenant_id
        while self._unsent or not self._is_read:
            if not self._results:
                self._has_results.clear()
                await self._has_results.wait()
                continue
            self._calls.on_write(tenant_id)
            outcomes = self._next_results()
            data = b"".join([result for _, result in outcomes])
            self._call.sent_bytes += len(data)
            with self._calls.send_buffer.track_message(self._call.peer, tenant_id, len(data)):
                await send(self._context, data, self._calls.idle_timeout_s, "send the writes without an outcome again")
            self._unsent -= len(outcomes)
            self._request_bytes -= sum(request_bytes for request_bytes, _ in outcomes)
            self._unsent_bytes -= len(data)
            self._has_room.set()

    def _next_results(self) -> list[tuple[int, bytes]]:
        """Take the known outcomes that fit into one message; at least one."""
        taken: list[tuple[int, bytes]] = []
        size = 0
        while self._results and (not taken or size + len(self._results[0][1]) <= MAX_MESSAGE_BYTES):
            taken.append(self._results.popleft())
            size += len(taken[-1][1])
        return taken


def _raising(error: Exception) -> Callable[[Any, Actor], Awaitable[Any]]:
    """Return a function that reports the error of a patch which was applied together with others."""

    async def apply(_: Any, __: Actor) -> Any:
        raise error

    return apply
