"""Batching of calls: those that arrive while a statement is running share the next one.

A call is not delayed unless others have just ended. Under load, groups grow by themselves, and a few large statements
have a higher throughput than many small ones. So a group waits for as many calls as there were when the last one ended,
because the callers of that one may be about to call again, but at most for a part of the time that it took.

Each call has its own result, deadline and error. Calls with the same ordering key run in the order of their arrival,
each after its predecessor has ended, or as a run in one statement.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Generic, TypeVar

from ..concurrency.call_context import call_deadline, call_tenant
from ..store.query_stats import CallQueries, call_queries
from .lanes import Call, Group, Lane, Submission

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")

SIZE = 64  # the maximum number of calls in a group


class Batcher(Generic[E, R]):
    """Collects calls into groups, separately for each lane."""

    def __init__(
        self,
        send: Callable[[Sequence[Call[E, R]]], Awaitable[None]],
        size: int = SIZE,
        on_batch: Callable[[int], None] | None = None,
        send_alone: Callable[[Call[E, R]], Awaitable[None]] | None = None,
        send_folded: Callable[[Sequence[Call[E, R]]], Awaitable[None]] | None = None,
    ) -> None:
        """Create a batcher of groups of at most `size` calls.

        `send` runs the statement of a group, and completes each of its calls or sets its `alone`. `send_alone`
        completes a call whose `alone` is set. `send_folded` runs the statement of calls with one ordering key, in
        order; calls that it leaves are sent one after the other. `on_batch` is called with the size of each group.
        """
        self._send = send
        self._send_alone = send_alone
        self._send_folded = send_folded
        self._size = size
        self._on_batch = on_batch
        self._lanes: dict[tuple[str, ...], Lane[E, R]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(
        self, partition_key: tuple[str, ...], ordering_key: Hashable, item: E, alone: str = "", *, folds: bool = False
    ) -> R:
        """Submit a call to the lane of `partition_key`, whose first element is the tenant, and return its result.

        `alone`: the reason to send it by itself from the start; empty if it may share a statement. `folds`: it may
        share one with calls of the same ordering key too.
        """
        call = self._add(partition_key, Submission(ordering_key, item, alone, folds))
        self._start(partition_key, self._lanes[partition_key])
        try:
            return await call.result
        except asyncio.CancelledError:
            if call.group is not None:
                call.group.cancel_if_abandoned()
            raise

    async def submit_all(
        self,
        partition_key: tuple[str, ...],
        submissions: Sequence[Submission[E]],
        ended: Callable[[int, R | BaseException], None],
    ) -> None:
        """Submit calls to one lane, and return when all have ended.

        `ended` is called with the index and the result or the error of each as soon as it is known. It must not raise.
        If this is cancelled, it is not called any more.
        """
        left, all_ended = len(submissions), asyncio.get_running_loop().create_future()
        is_cancelled = False

        def note_end(index: int, result: asyncio.Future[R]) -> None:
            nonlocal left
            left -= 1
            if not left and not all_ended.done():
                all_ended.set_result(None)
            if is_cancelled:
                return
            if not result.cancelled():
                ended(index, result.exception() or result.result())
            elif not all_ended.cancelled():
                ended(index, RuntimeError("a call of a group ended without a result"))

        calls = [self._add(partition_key, each) for each in submissions]
        for index, call in enumerate(calls):
            call.result.add_done_callback(partial(note_end, index))
        self._start(partition_key, self._lanes[partition_key])
        try:
            await all_ended
        except asyncio.CancelledError:
            is_cancelled = True  # callbacks of results that are known already may be about to run
            for call in calls:
                call.result.cancel()
            for group in {call.group for call in calls if call.group is not None}:
                group.cancel_if_abandoned()
            raise

    def _add(self, partition_key: tuple[str, ...], submission: Submission[E]) -> Call[E, R]:
        """Add a call to its lane, which the caller starts after that."""
        lane: Lane[E, R] = self._lanes.setdefault(partition_key, Lane())
        ordering_key, alone = submission.ordering_key, submission.alone
        call: Call[E, R] = Call(
            submission.item,
            ordering_key,
            asyncio.get_running_loop().create_future(),
            call_deadline.get(),
            call_queries.get(),
            alone=alone,
            folds=submission.folds and not alone and self._send_folded is not None and self._size > 1,
        )
        if ordering_key in lane.waiting_by_key:
            lane.waiting_by_key[ordering_key].append(call)
        else:
            lane.waiting_by_key[ordering_key] = deque()
            lane.ready.append(call)
        return call

    def _start(self, key: tuple[str, ...], lane: Lane[E, R]) -> None:
        """Start the next groups, as many as the lane has room for, unless the next one waits for more calls."""
        now = asyncio.get_running_loop().time()
        while lane.ready and lane.has_room:
            if lane.gathers(now, self._size) and not lane.is_hot():
                break
            if lane.is_hot():
                calls, send = lane.take_run(self._size), self._send_folded
            else:
                calls, send = self._take_group(key, lane), self._send
            if calls and send is not None:
                lane.running += 1
                self._begin(key, calls, partial(self._run, key, lane, send))
        if lane.running or lane.timer is not None:
            return
        if now < lane.gather_until:
            lane.timer = asyncio.get_running_loop().call_at(lane.gather_until, self._end_gathering, key, lane)
        elif not lane.waiting_by_key:
            self._lanes.pop(key, None)

    def _end_gathering(self, key: tuple[str, ...], lane: Lane[E, R]) -> None:
        lane.timer = None
        self._start(key, lane)

    def _take_group(self, key: tuple[str, ...], lane: Lane[E, R]) -> list[Call[E, R]]:
        """Remove and return the next ready calls, up to one of a hot key. Those to be sent alone are started."""
        calls: list[Call[E, R]] = []
        while lane.ready and len(calls) < self._size and not (calls and lane.is_hot(len(calls))):
            call = lane.ready.popleft()
            if not call.is_awaited:
                lane.release_next(call)
            elif call.alone:
                self._begin(key, [call], partial(self._run_alone, key, lane, call))
            else:
                calls.append(call)
        return calls

    def _begin(
        self,
        key: tuple[str, ...],
        calls: Sequence[Call[E, R]],
        run: Callable[[Group[E, R]], Coroutine[Any, Any, None]],
    ) -> None:
        """Run a group in its own context, because the deadline of one call is not that of the group."""
        group = Group(calls)
        for call in calls:
            call.group = group
        context = Context()
        context.run(call_tenant.set, key[0])
        task = asyncio.get_running_loop().create_task(run(group), name="group", context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(
        self,
        key: tuple[str, ...],
        lane: Lane[E, R],
        send: Callable[[Sequence[Call[E, R]]], Awaitable[None]],
        group: Group[E, R],
    ) -> None:
        call_deadline.set(group.deadline)
        is_slow = False

        def slow() -> None:
            nonlocal is_slow
            is_slow = True
            lane.slow += 1
            self._start(key, lane)

        loop = asyncio.get_running_loop()
        began = loop.time()
        timer = loop.call_later(lane.slow_s, slow)
        group.sending = asyncio.current_task()
        try:
            if group.is_awaited:
                if self._on_batch is not None:
                    self._on_batch(len(group.calls))
                await send(group.calls)
        finally:
            timer.cancel()
            lane.slow -= is_slow
            lane.running -= 1
            if send is self._send_folded:
                lane.end_run(group.calls)
                group.calls = ()
            else:
                ended = loop.time()
                lane.note_end(len(group.calls), ended - began, ended)
            for call in group.calls:
                if call.alone and call.is_awaited:
                    self._begin(key, [call], partial(self._run_alone, key, lane, call))
                else:
                    self._end(lane, call)
            self._start(key, lane)

    async def _run_alone(self, key: tuple[str, ...], lane: Lane[E, R], call: Call[E, R], group: Group[E, R]) -> None:
        """Send a call by itself. Calls with the same ordering key still wait for it."""
        call_deadline.set(call.deadline)
        group.sending = asyncio.current_task()
        try:
            if call.is_awaited and self._send_alone is not None:
                await self._send_alone(call)
        finally:
            self._end(lane, call)
            self._start(key, lane)

    @staticmethod
    def _end(lane: Lane[E, R], call: Call[E, R]) -> None:
        if call.is_awaited:  # no caller may wait forever, whatever happened
            call.result.cancel()
        lane.release_next(call)


async def shared(calls: Sequence[Call[E, R]], sent: Awaitable[T]) -> T:
    """Return the result of `sent`, and record its statements with each of the calls."""
    queries = CallQueries()
    call_queries.set(queries)
    try:
        return await sent
    finally:
        for each in {call.queries for call in calls}:  # a stream may have several calls in a group
            if each is not None:
                each.share(queries)
