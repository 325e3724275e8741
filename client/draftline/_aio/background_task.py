"""A task that runs beside the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any


class BackgroundTask:
    """A coroutine function that runs in a task of its own, at most once.

    `abandoned` is called if the task is cancelled by others than `stop`, as at the end of `asyncio.run`.
    """

    def __init__(
        self, run: Callable[[], Coroutine[Any, Any, None]], abandoned: Callable[[], None] | None = None
    ) -> None:
        self._run = run
        self._abandoned = abandoned
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    def start(self) -> None:
        """Start the task. Without effect if it was started before."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
            self._task.add_done_callback(self._end)

    async def stop(self) -> None:
        """Cancel the task and wait until it has ended."""
        self._is_stopping = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() and not self._is_stopping and self._abandoned is not None:
            self._abandoned()
