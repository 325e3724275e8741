"""Wait for conditions by polling, long enough that a slow machine does not fail a test."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE_S = 60.0
INTERVAL_S = 0.01
# Calls that wait for a lock in PostgreSQL.
BLOCKED = """SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'draftline'"""


def until(found: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Poll `found` until its result is true, and return the result."""
    deadline = time.monotonic() + patience_s
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"condition not met within {patience_s} s")
        time.sleep(INTERVAL_S)
    return answer


async def eventually(found: Callable[[], Any | Awaitable[Any]], patience_s: float = PATIENCE_S) -> Any:
    """Poll like `until`, without blocking the event loop; `found` may be asynchronous."""
    deadline = time.monotonic() + patience_s
    while True:
        answer = found()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"condition not met within {patience_s} s")
        await asyncio.sleep(INTERVAL_S)
