"""The calls of a batcher, the groups in which they share statements, and the lane of calls that may share one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..store.query_stats import CallQueries

E = TypeVar("E")
R = TypeVar("R")

SLOW_S = 0.02  # after this time, a group that is still running no longer delays the next one
SLOW_FACTOR = 3.0  # or after as many times the usual time of a group of its lane, if that is longer
MAX_SLOW_S = 0.2
MAX_RUNNING = 4  # the maximum number of groups of one lane that run at once
GATHER_SHARE = 0.5  # the part of the time of a group for which the next one waits for calls
GATHER_S = 0.01  # the maximum of this time


@dataclass(eq=False, slots=True)
class Submission(Generic[E]):
    """A call for its lane; see Batcher.submit."""

    ordering_key: Hashable
    item: E
    alone: str = ""
    folds: bool = False


@dataclass(eq=False, slots=True)
class Call(Generic[E, R]):
    """A call that waits for its result from a shared statement; `item` is its part of the statement."""

    item: E
    ordering_key: Hashable
    result: asyncio.Future[R]
    deadline: float | None  # on the clock of time.monotonic()
    queries: CallQueries | None
    group: Group[E, R] | None = None  # set once it is running
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
class Group(Generic[E, R]):
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
class Lane(Generic[E, R]):
    """The calls of one partition key, which may share statements."""

    ready: deque[Call[E, R]] = field(default_factory=deque)  # each with a different ordering key
    # By ordering key, the calls after the first one of the key, which is ready or running.
    waiting_by_key: dict[Hashable, deque[Call[E, R]]] = field(default_factory=dict)
    running: int = 0
    slow: int = 0  # the number of running groups that no longer delay the next one
    usual_s: float = 0.0  # the time of a group, averaged over the last ones
    expected: int = 0  # the number of calls that the next group waits for until gather_until, by the loop's clock
    gather_until: float = 0.0
    timer: asyncio.TimerHandle | None = None  # at gather_until

    @property
    def has_room(self) -> bool:
        return self.running < min(1 + self.slow, MAX_RUNNING)

    @property
    def slow_s(self) -> float:
        """The time after which a group no longer delays the next one."""
        return min(max(SLOW_S, SLOW_FACTOR * self.usual_s), MAX_SLOW_S)

    def note_end(self, size: int, took_s: float, now: float) -> None:
        """Note that a group of this size has ended."""
        self.usual_s += (took_s - self.usual_s) / 8 if self.usual_s else took_s
        self.expected = size + len(self.ready)
        self.gather_until = now + min(GATHER_SHARE * took_s, GATHER_S) if self.expected > 1 else 0.0

    def gathers(self, now: float, size: int) -> bool:
        """Return whether the next group, of at most `size` calls, still waits for more."""
        return not self.running and len(self.ready) < min(self.expected, size) and now < self.gather_until

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
