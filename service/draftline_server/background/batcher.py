"""Groups: calls that arrive while a statement is under way share the next one.

A call that finds nothing under way is not delayed. Under load groups grow by themselves: fewer, larger statements do
more in all than many small ones. Each call keeps its own outcome, deadline and error, and calls of one turn keep the
order of their arrival: the next of them waits until the one before is over.
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

SIZE = 64  # calls in a group, at most
SLOW_S = 0.02  # after which a group that is still under way no longer holds up the next one
MOST = 4  # groups of one lane under way


@dataclass(eq=False, slots=True)
class Call(Generic[E, R]):
    """One that waits for its share of a statement; `entry` is what it adds to it."""

    entry: E
    turn: Hashable
    result: asyncio.Future[R]
    deadline: float | None  # in terms of time.monotonic()
    runs: CallQueries | None
    group: _Group[E, R] | None = None  # once it is under way
    alone: str = ""  # why it is sent by itself; empty: it shares a statement

    @property
    def is_awaited(self) -> bool:
        return not self.result.done()

    def answer(self, make: Callable[[], R]) -> None:
        """Ends it with what `make` returns or raises."""
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
        """Stops the statement when nobody waits for it any more."""
        if self.sending is not None and not self.is_awaited:
            self.sending.cancel()

    @property
    def deadline(self) -> float | None:
        """The last of its calls'."""
        deadlines = [call.deadline for call in self.calls if call.deadline is not None]
        return max(deadlines) if len(deadlines) == len(self.calls) else None


@dataclass(eq=False, slots=True)
class _Lane(Generic[E, R]):
    """Calls that may share statements."""

    ready: deque[Call[E, R]] = field(default_factory=deque)  # each of another turn
    behind: dict[Hashable, deque[Call[E, R]]] = field(
        default_factory=dict
    )  # by turn, of which one is ready or under way
    under_way: int = 0
    slow: int = 0  # of those under way

    @property
    def has_room(self) -> bool:
        return self.under_way < min(1 + self.slow, MOST)

    def follow(self, call: Call[E, R]) -> None:
        """Makes the next call of the same turn ready, now that this one is over."""
        waiting = self.behind[call.turn]
        while waiting:
            following = waiting.popleft()
            if following.is_awaited:
                self.ready.append(following)
                return
        del self.behind[call.turn]


class Batcher(Generic[E, R]):
    """Gathers calls into groups, lane by lane."""

    def __init__(
        self,
        send: Callable[[Sequence[Call[E, R]]], Awaitable[None]],
        size: int = SIZE,
        formed: Callable[[int], None] | None = None,
        send_alone: Callable[[Call[E, R]], Awaitable[None]] | None = None,
    ) -> None:
        """`send`: runs the statement of a group, and ends each of its calls or sets its `alone`.

        `send_alone`: ends such a call. `formed`: called with the size of each group.
        """
        self._send = send
        self._send_alone = send_alone
        self._size = size
        self._formed = formed
        self._lanes: dict[tuple[str, ...], _Lane[E, R]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, key: tuple[str, ...], turn: Hashable, entry: E, alone: str = "") -> R:
        """Return what becomes of a call in the lane of this key, which begins with its tenant.

        `alone`: why it is to be sent by itself from the start.
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
        """Sends the next groups, as far as there is room for them."""
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
        """Runs a group in a context of its own: the time of one call is not that of the group."""
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
        """Sends a call by itself. It still has its turn: those of the same turn wait for it."""
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
        if call.is_awaited:  # nobody waits for ever, whatever happened
            call.result.cancel()
        lane.follow(call)


async def shared(calls: Sequence[Call[E, R]], sent: Awaitable[T]) -> T:
    """What is sent for some calls; each is told of the statements."""
    runs = CallQueries()
    call_queries.set(runs)
    try:
        return await sent
    finally:
        for call in calls:
            if call.runs is not None:
                call.runs.share(runs)
