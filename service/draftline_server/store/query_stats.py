"""Statement timings, reported to the call that waits for the statement and to observers of the database."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

T = TypeVar("T")

MAX_TIMINGS = 100  # maximum timings stored per call; a stream may run any number of statements


class QueryTiming(NamedTuple):
    """The timing of a named statement or other round trip; `started` is in terms of time.perf_counter()."""

    name: str
    started: float
    duration_s: float
    failed: bool
    sqlstate: str = ""  # of PostgreSQL's error, if it raised one


class CallQueries:
    """The statements that a call waited for: their number, and the timings of the first MAX_TIMINGS."""

    __slots__ = ("count", "first")

    def __init__(self) -> None:
        self.count = 0
        self.first: list[QueryTiming] = []

    def add(self, timing: QueryTiming) -> None:
        self.count += 1
        if len(self.first) < MAX_TIMINGS:
            self.first.append(timing)

    def share(self, others: CallQueries) -> None:
        """Add the statements of a group to those of one of its calls."""
        self.count += others.count
        self.first += others.first[: MAX_TIMINGS - len(self.first)]


# The statements of the current call; None outside of a call.
call_queries: ContextVar[CallQueries | None] = ContextVar("call_queries", default=None)


class QueryRunner:
    """Runs what is sent to PostgreSQL, and calls `observers` after each run. They must not raise."""

    def __init__(self) -> None:
        self.observers: list[Callable[[QueryTiming], None]] = []

    async def run(self, name: str, sent: Awaitable[T]) -> T:
        started = time.perf_counter()
        failed, sqlstate = True, ""
        try:
            result = await sent
            failed = False
        except Exception as error:
            sqlstate = getattr(error, "sqlstate", None) or ""  # as asyncpg names it, which is slow to import
            raise
        finally:
            timing = QueryTiming(name, started, time.perf_counter() - started, failed, sqlstate)
            queries = call_queries.get()
            if queries is not None:
                queries.add(timing)
            for observer in self.observers:
                observer(timing)
        return result
