"""Waiting for what a benchmark has started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from .processes import BenchError

POLL_S = 0.02


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float = 3_600.0, poll_s: float = POLL_S) -> None:
    """Wait until the condition holds. Raise BenchError if it does not within the limit."""
    end = time.monotonic() + limit_s
    while not await condition():
        if time.monotonic() > end:
            raise BenchError(f"a condition does not hold after {limit_s:g} s")
        await asyncio.sleep(poll_s)
