"""Work that takes long is done in parts: on one loop, whoever does not pause keeps all others waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")
MAX_SLICE_S = 0.02  # after which the others have their turn


async def yielding(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, with pauses between them as what is done with them takes its time."""
    began = time.monotonic()
    for item in items:
        yield item
        if time.monotonic() - began > MAX_SLICE_S:
            await asyncio.sleep(0)
            began = time.monotonic()
