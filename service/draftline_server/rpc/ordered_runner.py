"""Concurrent writes of a stream: those of one record run one after the other, and each has a time limit.

Writes are run by a few tasks that live as long as the stream: a task and a timer for each write would cost a
fifth of the processor time of a patch.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False, slots=True)
class StreamedWrite:
    """A write of a stream. `key` is that of its record; None: it has no order among others."""

    index: int
    item: Any
    size_bytes: int
    key: Hashable | None
    ends_at: float = 0.0  # the time limit on the clock of time.monotonic(), once it runs
    task: asyncio.Task[None] | None = None  # that runs it
    is_late: bool = False  # the time limit was exceeded


class OrderedRunner:
    """Runs the writes that are added. The tasks belong to the group of the stream."""

    def __init__(
        self,
        run: Callable[[StreamedWrite], Awaitable[None]],
        limit_s: float,
        deadline: float | None,
        group: asyncio.TaskGroup,
    ) -> None:
        """Create a runner. `run` runs one write. If it raises, the group of the stream fails.

        A write is cancelled after `limit_s`, and when the `deadline` of the stream has passed.
        """
        self._run = run
        self._limit_s = limit_s
        self._deadline = deadline
        self._group = group
        self._ready: deque[StreamedWrite] = deque()
        self._behind: dict[
            Hashable, deque[StreamedWrite]
        ] = {}  # by key, the writes after the one that is ready or runs
        self._running: dict[StreamedWrite, None] = {}  # in the order of their time limits
        self._idle: list[asyncio.Future[None]] = []  # one for each task that waits for a write
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """The number of writes that run."""
        return len(self._running)

    def add(self, write: StreamedWrite) -> None:
        """Run the write once those of its record that were added before have ended."""
        if write.key is not None:
            behind = self._behind.get(write.key)
            if behind is not None:
                behind.append(write)
                return
            self._behind[write.key] = deque()
        self._ready.append(write)
        self._wake()

    async def cancel_late(self) -> None:
        """Cancel the writes whose time limit has passed, until this is cancelled."""
        while True:
            first = next((write for write in self._running if not write.is_late), None)
            ends_at = self._ends_at() if first is None else first.ends_at
            await asyncio.sleep(max(0.0, ends_at - time.monotonic()))
            now = time.monotonic()
            late = [write for write in self._running if write.ends_at <= now and not write.is_late]
            for write in late:
                write.is_late = True
                if write.task is not None:
                    write.task.cancel()
            if first is None and self._ends_at() <= now:  # the deadline of the stream has passed
                return

    def cancel(self) -> None:
        """Cancel all tasks. Writes that have not ended have no outcome."""
        for task in self._tasks:
            task.cancel()

    def _ends_at(self) -> float:
        ends_at = time.monotonic() + self._limit_s
        return ends_at if self._deadline is None else min(ends_at, self._deadline)

    def _wake(self) -> None:
        while self._idle:
            waiter = self._idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                return
        task = self._group.create_task(self._work(), name="streamed writes")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        """Run writes one after the other, and wait for further ones, until the task is cancelled."""
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        while True:
            if not self._ready:
                waiter = loop.create_future()
                self._idle.append(waiter)
                await waiter
                continue
            write = self._ready.popleft()
            write.task, write.ends_at = task, self._ends_at()
            self._running[write] = None
            try:
                await self._run(write)
            finally:
                del self._running[write]
                self._release_next(write)

    def _release_next(self, write: StreamedWrite) -> None:
        if write.key is None:
            return
        behind = self._behind[write.key]
        if behind:
            self._ready.append(behind.popleft())
        else:
            del self._behind[write.key]
