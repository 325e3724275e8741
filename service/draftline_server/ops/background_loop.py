"""Runs something asynchronous beside code that blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def threaded(context: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enters the context on a loop of its own, in a thread of its own, and leaves it at the end of the block."""
    entered: Future[T] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def hold() -> None:
        try:
            async with context as value:
                entered.set_result(value)
                await stop.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    thread = threading.Thread(target=loop.run_until_complete, args=(hold(),), name="beside")
    thread.start()
    try:
        yield entered.result()
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
