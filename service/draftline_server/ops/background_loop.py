"""Run an asynchronous context in a background thread, for blocking code."""

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
    """Enter the context on its own event loop in its own thread, and exit it at the end of the block."""
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
