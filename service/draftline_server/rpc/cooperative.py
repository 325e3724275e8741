"""Cooperative scheduling of long loops, which would otherwise block the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

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
