"""Patches of a stream that arrive together, applied in one task, each with an outcome of its own.

Most of the processor time of a streamed patch is that of a task which waits in a dozen nested functions; a group waits
once. Only plain patches run in groups. A patch that does not succeed there is run by itself, which reports its error or
finds the stored response of its request id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from draftline.v1 import content_pb2

from ..concurrency.call_context import call_deadline
from ..domain.errors import DraftlineError
from ..domain.records import Actor, Patch, PatchResult
from .admission import Admission
from .idempotency import request_of
from .ordered_runner import OrderedRunner, StreamedWrite
from .stream_items import UNARY
from .validation import check

METHOD = UNARY["patch"][0]

Outcome = PatchResult | BaseException | None


class PatchService(Protocol):
    """The steps of ContentService that groups use."""

    def shared_patch(self, request: content_pb2.PatchContentRequest, actor: Actor) -> Patch | None: ...

    async def patch_each(
        self, patches: Sequence[tuple[Actor, Patch, str]], ended: Callable[[int, Outcome], None]
    ) -> None: ...

    def fill_streamed(
        self, message: content_pb2.StreamPatchesResult, result: PatchResult, actor: Actor,
        request: content_pb2.PatchContentRequest,
    ) -> None: ...  # fmt: skip


class StreamState(Protocol):
    """The parts of a stream that its groups use."""

    applying: int

    async def room_for(self, count: int) -> int: ...

    def complete(self, write: StreamedWrite, outcome: content_pb2.StreamPatchesResponse) -> None: ...

    def complete_late(self, write: StreamedWrite) -> None: ...


@dataclass(eq=False, slots=True)
class _Prepared:
    write: StreamedWrite
    actor: Actor
    patch: Patch


class PatchGroups:
    """Runs groups of patches of one stream."""

    def __init__(
        self, service: PatchService, stream: StreamState, admission: Admission, runner: OrderedRunner, actor: Actor
    ) -> None:
        self._service = service
        self._stream = stream
        self._admission = admission
        self._runner = runner
        self._actor = actor
        self._turn = asyncio.Lock()  # of the group that waits for an admission slot

    async def run(self, writes: Sequence[StreamedWrite]) -> None:
        """Run patches of different records. Each ends, or is given back to the runner."""
        left = dict.fromkeys(writes)
        if writes[0].is_late:  # while they were put back; all have the same time limit
            self._end_late(writes)
            return
        try:
            await self._run(left)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not any(write.is_late for write in left) or task is None or task.uncancel():
                raise
            self._end_late(list(left))
            return
        except Exception as error:
            for write in left:
                write.error = error
        for write in left:
            self._runner.run_alone(write)

    def _end_late(self, writes: Sequence[StreamedWrite]) -> None:
        for write in writes:
            self._stream.complete_late(write)
            self._runner.end(write)

    async def _run(self, left: dict[StreamedWrite, None]) -> None:
        """Run patches, and remove from `left` those that have ended or are put back."""
        call_deadline.set(next(iter(left)).ends_at)
        room = await self._stream.room_for(len(left))
        slots = _Slots(self._admission, self._actor.tenant_id)
        await slots.acquire(room, self._turn)
        try:
            taken, rest = list(left)[: slots.held], list(left)[slots.held :]
            prepared = [found for write in taken if (found := self._prepared(write)) is not None]
            collection = prepared[0].patch.collection if prepared else ""
            rest += [each.write for each in prepared if each.patch.collection != collection]
            for write in rest:
                del left[write]
            self._runner.put_back(rest)
            prepared = [each for each in prepared if each.patch.collection == collection]
            if prepared:
                await self._apply(prepared, left, slots)
        finally:
            slots.release_all()

    def _prepared(self, write: StreamedWrite) -> _Prepared | None:
        """Return the patch of a write; None if it has to run by itself."""
        request = write.item.patch
        try:
            check(request)
            identified = request_of(request, METHOD)
            actor = self._actor
            if identified is not None:
                actor = Actor(actor.tenant_id, actor.user_id, identified)
            patch = self._service.shared_patch(request, actor)
        except DraftlineError:
            return None
        return None if patch is None else _Prepared(write, actor, patch)

    async def _apply(self, prepared: Sequence[_Prepared], left: dict[StreamedWrite, None], slots: _Slots) -> None:
        stream = self._stream
        stream.applying += len(prepared)
        applying = len(prepared)

        def ended(index: int, outcome: Outcome) -> None:
            nonlocal applying
            each = prepared[index]
            if each.write not in left:
                return
            del left[each.write]
            applying -= 1
            stream.applying -= 1
            slots.release()
            self._end(each, outcome)

        patches = [(each.actor, each.patch, each.write.item.patch.change_reason) for each in prepared]
        try:
            await self._service.patch_each(patches, ended)
        finally:
            stream.applying -= applying

    def _end(self, prepared: _Prepared, outcome: Outcome) -> None:
        """Queue the outcome of a patch that succeeded, and run any other by itself."""
        write = prepared.write
        error = outcome.error if isinstance(outcome, PatchResult) else outcome
        if isinstance(outcome, PatchResult) and error is None:
            try:
                message = self._message(prepared, outcome)
            except Exception as failure:
                error = failure
            else:
                self._stream.complete(write, message)
                self._runner.end(write)
                return
        write.error = error if isinstance(error, Exception) else None
        self._runner.run_alone(write)

    def _message(self, prepared: _Prepared, result: PatchResult) -> content_pb2.StreamPatchesResponse:
        write, message = prepared.write, content_pb2.StreamPatchesResponse()
        part = message.results.add(index=write.index)
        part.status.SetInParent()
        self._service.fill_streamed(part, result, prepared.actor, write.item.patch)
        return message


class _Slots:
    """The admission slots of a group, one for each of its patches that has not ended."""

    def __init__(self, admission: Admission, tenant_id: str) -> None:
        self._admission = admission
        self._tenant_id = tenant_id
        self.held = 0

    async def acquire(self, limit: int, turn: asyncio.Lock) -> None:
        self.held = await self._admission.acquire_slots(self._tenant_id, limit, turn)

    def release(self) -> None:
        self.held -= 1
        self._admission.release_slot(self._tenant_id)

    def release_all(self) -> None:
        while self.held:
            self.release()
