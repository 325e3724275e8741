"""Cooperative scheduling of long loops, which would otherwise block the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")
MAX_SLICE_S = 0.02  # after which control returns to the event loop


async def yielding(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items, and return control to the event loop whenever processing them took longer than MAX_SLICE_S."""
    began = time.monotonic()
    for item in items:
        yield item
        if time.monotonic() - began > MAX_SLICE_S:
            await asyncio.sleep(0)
            began = time.monotonic()


@asynccontextmanager
async def started(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run work as a task while the block runs, which begins at the first wait of the work.

    If the block ends without the result, the work is cancelled.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.sleep(0)
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # marks it as retrieved: awaiting the task has raised it
