"""Batching of calls: those that arrive while a statement is running share the next one.

A call is not delayed if no statement is running. Under load, groups grow by themselves, and a few large statements have
a higher throughput than many small ones. Each call has its own result, deadline and error. Calls with the same ordering
key run in the order of their arrival, each after its predecessor has ended, or as a run in one statement.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from ..concurrency.call_context import call_deadline, call_tenant
from ..store.query_stats import CallQueries, call_queries

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")

SIZE = 64  # the maximum number of calls in a group
SLOW_S = 0.02  # after this time, a group that is still running no longer delays the next one
MAX_RUNNING = 4  # the maximum number of groups of one lane that run at once


@dataclass(eq=False, slots=True)
class Call(Generic[E, R]):
    """A call that waits for its result from a shared statement; `item` is its part of the statement."""

    item: E
    ordering_key: Hashable
    result: asyncio.Future[R]
    deadline: float | None  # on the clock of time.monotonic()
    queries: CallQueries | None
    group: _Group[E, R] | None = None  # set once it is running
    alone: str = ""  # the reason to send it by itself; empty: it shares a statement
    folds: bool = False  # it may share a statement with others of its ordering key

    @property
    def is_awaited(self) -> bool:
        return not self.result.done()

    def answer(self, make: Callable[[], R]) -> None:
        """Complete the call with the value that `make` returns or the exception that it raises."""
        if self.is_awaited:
            try:
                self.result.set_result(make())
            except Exception as error:
                self.result.set_exception(error)

    def succeed(self, result: R) -> None:
        if self.is_awaited:
            self.result.set_result(result)

    def fail(self, error: Exception) -> None:
        if self.is_awaited:
            self.result.set_exception(error)


@dataclass(eq=False, slots=True)
class _Group(Generic[E, R]):
    """Calls that share a statement."""

    calls: Sequence[Call[E, R]]
    sending: asyncio.Task[None] | None = None

    @property
    def is_awaited(self) -> bool:
        return any(call.is_awaited for call in self.calls)

    def cancel_if_abandoned(self) -> None:
        """Cancel the statement if no call of the group waits for it any longer."""
        if self.sending is not None and not self.is_awaited:
            self.sending.cancel()

    @property
    def deadline(self) -> float | None:
        """The latest deadline of its calls; None if any of them has none."""
        deadlines = [call.deadline for call in self.calls if call.deadline is not None]
        return max(deadlines) if len(deadlines) == len(self.calls) else None


@dataclass(eq=False, slots=True)
class _Lane(Generic[E, R]):
    """The calls of one partition key, which may share statements."""

    ready: deque[Call[E, R]] = field(default_factory=deque)  # each with a different ordering key
    # By ordering key, the calls after the first one of the key, which is ready or running.
    waiting_by_key: dict[Hashable, deque[Call[E, R]]] = field(default_factory=dict)
    running: int = 0
    slow: int = 0  # the number of running groups that took longer than SLOW_S

    @property
    def has_room(self) -> bool:
        return self.running < min(1 + self.slow, MAX_RUNNING)

    def release_next(self, call: Call[E, R]) -> None:
        """Make the next call with the same ordering key ready, after this one has ended."""
        waiting = self.waiting_by_key[call.ordering_key]
        while waiting:
            next_call = waiting.popleft()
            if next_call.is_awaited:
                self.ready.append(next_call)
                return
        del self.waiting_by_key[call.ordering_key]

    def is_hot(self, taken: int = 0) -> bool:
        """Return whether to fold the calls of the next ready call's key.

        A fold is a statement of its own, so there must be as many of them as of the other calls, which share another:
        those that are ready and the `taken` ones.
        """
        call = self.ready[0]
        waiting = self.waiting_by_key[call.ordering_key]
        return call.folds and len(waiting) >= max(1, taken + len(self.ready) - 1) and waiting[0].folds

    def take_run(self, size: int) -> list[Call[E, R]]:
        """Remove and return the first ready call and those of its key that fold with it, up to `size`, in order."""
        calls = [self.ready.popleft()]
        waiting = self.waiting_by_key[calls[0].ordering_key]
        while waiting and len(calls) < size and waiting[0].folds:
            calls.append(waiting.popleft())
        return [call for call in calls if call.is_awaited] or calls[:1]

    def end_run(self, calls: Sequence[Call[E, R]]) -> None:
        """Make the next call of the key of a run ready. Calls that the run left come first, in their order."""
        left = [call for call in calls if call.is_awaited]
        for call in left:
            call.folds, call.group = False, None
        if left:
            self.ready.append(left[0])
            self.waiting_by_key[left[0].ordering_key].extendleft(reversed(left[1:]))
        else:
            self.release_next(calls[0])


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
        self._lanes: dict[tuple[str, ...], _Lane[E, R]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(
        self, partition_key: tuple[str, ...], ordering_key: Hashable, item: E, alone: str = "", *, folds: bool = False
    ) -> R:
        """Submit a call to the lane of `partition_key`, whose first element is the tenant, and return its result.

        `alone`: the reason to send it by itself from the start; empty if it may share a statement. `folds`: it may
        share one with calls of the same ordering key too.
        """
        lane: _Lane[E, R] = self._lanes.setdefault(partition_key, _Lane())
        call: Call[E, R] = Call(
            item,
            ordering_key,
            asyncio.get_running_loop().create_future(),
            call_deadline.get(),
            call_queries.get(),
            alone=alone,
            folds=folds and not alone and self._send_folded is not None and self._size > 1,
        )
        if ordering_key in lane.waiting_by_key:
            lane.waiting_by_key[ordering_key].append(call)
        else:
            lane.waiting_by_key[ordering_key] = deque()
            lane.ready.append(call)
            self._start(partition_key, lane)
        try:
            return await call.result
        except asyncio.CancelledError:
            if call.group is not None:
                call.group.cancel_if_abandoned()
            raise

    def _start(self, key: tuple[str, ...], lane: _Lane[E, R]) -> None:
        """Start the next groups, as many as the lane has room for."""
        while lane.ready and lane.has_room:
            if lane.is_hot():
                calls, send = lane.take_run(self._size), self._send_folded
            else:
                calls, send = self._take_group(key, lane), self._send
            if calls and send is not None:
                lane.running += 1
                self._begin(key, calls, partial(self._run, key, lane, send))
        if not lane.waiting_by_key:
            self._lanes.pop(key, None)

    def _take_group(self, key: tuple[str, ...], lane: _Lane[E, R]) -> list[Call[E, R]]:
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
        run: Callable[[_Group[E, R]], Coroutine[Any, Any, None]],
    ) -> None:
        """Run a group in its own context, because the deadline of one call is not that of the group."""
        group = _Group(calls)
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
        lane: _Lane[E, R],
        send: Callable[[Sequence[Call[E, R]]], Awaitable[None]],
        group: _Group[E, R],
    ) -> None:
        call_deadline.set(group.deadline)
        is_slow = False

        def slow() -> None:
            nonlocal is_slow
            is_slow = True
            lane.slow += 1
            self._start(key, lane)

        timer = asyncio.get_running_loop().call_later(SLOW_S, slow)
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
            for call in group.calls:
                if call.alone and call.is_awaited:
                    self._begin(key, [call], partial(self._run_alone, key, lane, call))
                else:
                    self._end(lane, call)
            self._start(key, lane)

    async def _run_alone(self, key: tuple[str, ...], lane: _Lane[E, R], call: Call[E, R], group: _Group[E, R]) -> None:
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
    def _end(lane: _Lane[E, R], call: Call[E, R]) -> None:
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
