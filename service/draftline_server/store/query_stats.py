"""What statements did: told to the call that waits for them, and to whoever observes the database."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

T = TypeVar("T")

MOST_KEPT = 100  # of a call; a stream may run any number


class QueryTiming(NamedTuple):
    """A statement, or another round trip, by its name; `started` in terms of time.perf_counter()."""

    name: str
    started: float
    duration_s: float
    failed: bool


class CallQueries:
    """Those that a call waited for; the first of them are kept."""

    __slots__ = ("count", "first")

    def __init__(self) -> None:
        self.count = 0
        self.first: list[QueryTiming] = []

    def add(self, run: QueryTiming) -> None:
        self.count += 1
        if len(self.first) < MOST_KEPT:
            self.first.append(run)

    def share(self, others: CallQueries) -> None:
        """Those of a group, for one of its calls."""
        self.count += others.count
        self.first += others.first[: MOST_KEPT - len(self.first)]


# Those of the current call; None outside of any.
call_queries: ContextVar[CallQueries | None] = ContextVar("call_runs", default=None)


class QueryRunner:
    """Runs what is sent to PostgreSQL, and calls `observers` after each run. They must not raise."""

    def __init__(self) -> None:
        self.observers: list[Callable[[QueryTiming], None]] = []

    async def run(self, name: str, sent: Awaitable[T]) -> T:
        started = time.perf_counter()
        failed = True
        try:
            result = await sent
            failed = False
        finally:
            run = QueryTiming(name, started, time.perf_counter() - started, failed)
            runs = call_queries.get()
            if runs is not None:
                runs.add(run)
            for observer in self.observers:
                observer(run)
        return result
