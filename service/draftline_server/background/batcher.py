"""Batching of calls: those that arrive while a statement is running share the next one.

A call is not delayed if no statement is running. Under load, groups grow by themselves, and a few large statements have
a higher throughput than many small ones. Each call has its own result, deadline and error. Calls with the same ordering
key (`turn`) run in the order of their arrival, each after the one before has ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from ..store.query_stats import CallQueries, call_queries
from ..store.transaction import call_deadline, call_tenant

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")

SIZE = 64  # the maximum number of calls in a group
SLOW_S = 0.02  # after this time, a group that is still running no longer delays the next one
MOST = 4  # the maximum number of groups of one lane that run at once


@dataclass(eq=False, slots=True)
class Call(Generic[E, R]):
    """A call that waits for its result from a shared statement; `entry` is the item it adds to the statement."""

    entry: E
    turn: Hashable
    result: asyncio.Future[R]
    deadline: float | None  # on the clock of time.monotonic()
    runs: CallQueries | None
    group: _Group[E, R] | None = None  # set once it is running
    alone: str = ""  # the reason to send it by itself; empty: it shares a statement

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

    def left_by_one(self) -> None:
        """Cancel the statement if none of the group's calls waits for it any longer."""
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
    behind: dict[Hashable, deque[Call[E, R]]] = field(
        default_factory=dict
    )  # by ordering key; the first call of each key is ready or running
    under_way: int = 0
    slow: int = 0  # the number of running groups that took longer than SLOW_S

    @property
    def has_room(self) -> bool:
        return self.under_way < min(1 + self.slow, MOST)

    def follow(self, call: Call[E, R]) -> None:
        """Make the next call with the same ordering key ready, after this one has ended."""
        waiting = self.behind[call.turn]
        while waiting:
            following = waiting.popleft()
            if following.is_awaited:
                self.ready.append(following)
                return
        del self.behind[call.turn]


class Batcher(Generic[E, R]):
    """Collects calls into groups, separately for each lane."""

    def __init__(
        self,
        send: Callable[[Sequence[Call[E, R]]], Awaitable[None]],
        size: int = SIZE,
        formed: Callable[[int], None] | None = None,
        send_alone: Callable[[Call[E, R]], Awaitable[None]] | None = None,
    ) -> None:
        """Create a batcher of groups of at most `size` calls.

        `send` runs the statement of a group, and completes each of its calls or sets its `alone`. `send_alone`
        completes a call whose `alone` is set. `formed` is called with the size of each group.
        """
        self._send = send
        self._send_alone = send_alone
        self._size = size
        self._formed = formed
        self._lanes: dict[tuple[str, ...], _Lane[E, R]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, key: tuple[str, ...], turn: Hashable, entry: E, alone: str = "") -> R:
        """Submit a call to the lane `key`, whose first element is the tenant, and return its result.

        `alone`: the reason to send it by itself from the start; empty if it may share a statement.
        """
        lane: _Lane[E, R] = self._lanes.setdefault(key, _Lane())
        call: Call[E, R] = Call(
            entry,
            turn,
            asyncio.get_running_loop().create_future(),
            call_deadline.get(),
            call_queries.get(),
            alone=alone,
        )
        if turn in lane.behind:
            lane.behind[turn].append(call)
        else:
            lane.behind[turn] = deque()
            lane.ready.append(call)
            self._start(key, lane)
        try:
            return await call.result
        except asyncio.CancelledError:
            if call.group is not None:
                call.group.left_by_one()
            raise

    def _start(self, key: tuple[str, ...], lane: _Lane[E, R]) -> None:
        """Start the next groups, as many as the lane has room for."""
        while lane.ready and lane.has_room:
            calls: list[Call[E, R]] = []
            while lane.ready and len(calls) < self._size:
                call = lane.ready.popleft()
                if not call.is_awaited:
                    lane.follow(call)
                elif call.alone:
                    self._begin(key, [call], partial(self._run_alone, key, lane, call))
                else:
                    calls.append(call)
            if not calls:
                continue
            lane.under_way += 1
            self._begin(key, calls, partial(self._run, key, lane))
        if not lane.behind:
            self._lanes.pop(key, None)

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

    async def _run(self, key: tuple[str, ...], lane: _Lane[E, R], group: _Group[E, R]) -> None:
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
                if self._formed is not None:
                    self._formed(len(group.calls))
                await self._send(group.calls)
        finally:
            timer.cancel()
            lane.slow -= is_slow
            lane.under_way -= 1
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
        lane.follow(call)


async def shared(calls: Sequence[Call[E, R]], sent: Awaitable[T]) -> T:
    """Return the result of `sent`, and record its statements with each of the calls."""
    runs = CallQueries()
    call_queries.set(runs)
    try:
        return await sent
    finally:
        for call in calls:
            if call.runs is not None:
                call.runs.share(runs)
