"""Complete every connection attempt, even if the call that started it has ended: the next call gets the connection.

Otherwise callers with deadlines shorter than a connection attempt would keep the pool empty forever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

import asyncpg

from .time_limits import without_transaction_limit


class Connecting:
    """Makes the connections of a pool; at most as many are left over as the pool can hold."""

    def __init__(self, max_idle_s: float) -> None:
        """Keep a connection that no call takes for `max_idle_s`."""
        self._max_idle_s = max_idle_s
        self._left_over: deque[asyncio.Task[Any]] = deque()  # in progress, or made and not taken

    async def connect(self, *arguments: Any, **options: Any) -> Any:
        """Return a connection, with the arguments and errors of asyncpg.connect."""
        task = self._taken()
        if task is None:
            task = asyncio.create_task(_connected(*arguments, **options), name="connect")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                self._keep(task)
            raise

    def close(self) -> None:
        """Cancel attempts in progress, and close connections that were made."""
        while self._left_over:
            self._end(self._left_over.popleft())

    def _taken(self) -> asyncio.Task[Any] | None:
        while self._left_over:
            task = self._left_over.popleft()
            if not task.done() or not (task.cancelled() or task.exception() or task.result().is_closed()):
                return task
        return None

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._left_over.append(task)
        loop = asyncio.get_running_loop()
        task.add_done_callback(lambda _: loop.call_later(self._max_idle_s, self._expire, task))

    def _expire(self, task: asyncio.Task[Any]) -> None:
        with suppress(ValueError):  # a call has taken it
            self._left_over.remove(task)
            self._end(task)

    @staticmethod
    def _end(task: asyncio.Task[Any]) -> None:
        if not task.done():
            task.cancel()
        elif not task.cancelled() and task.exception() is None:
            task.result().terminate()


async def _connected(*arguments: Any, **options: Any) -> Any:
    connection = await asyncpg.connect(*arguments, **options)
    try:
        await without_transaction_limit(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection
