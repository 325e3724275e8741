"""Concurrent writes of a stream: those of one record run one after the other, and each has a time limit.

Writes are run by a few tasks that live as long as the stream: a task and a timer for each write would cost a
fifth of the processor time of a patch. Writes that arrive together may run in one task, which costs half as much.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_TOGETHER = 64  # writes that one task runs at a time


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
    is_shared: bool = False  # it may run together with others
    error: Exception | None = None  # of a write that ran together with others, to be reported by itself


class OrderedRunner:
    """Runs the writes that are added. The tasks belong to the group of the stream."""

    def __init__(
        self,
        run: Callable[[StreamedWrite], Awaitable[None]],
        run_together: Callable[[Sequence[StreamedWrite]], Awaitable[None]],
        limit_s: float,
        deadline: float | None,
        group: asyncio.TaskGroup,
    ) -> None:
        """Create a runner. If `run` or `run_together` raises, the group of the stream fails.

        `run` runs one write, `run_together` several shared ones, and passes each to `end`, `run_alone` or `put_back`. A
        write is cancelled after `limit_s`, and when the `deadline` of the stream has passed.
        """
        self._run = run
        self._run_together = run_together
        self._limit_s = limit_s
        self._deadline = deadline
        self._group = group
        self._ready: deque[StreamedWrite] = deque()
        self._shared: deque[StreamedWrite] = deque()  # those that are ready and run together
        self._is_waking = False  # a task is about to run the shared writes
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
        self._make_ready(write)

    def end(self, write: StreamedWrite) -> None:
        """Note that a write has ended, so that the next one of its record can run."""
        del self._running[write]
        if write.key is None:
            return
        behind = self._behind[write.key]
        if behind:
            self._make_ready(behind.popleft())
        else:
            del self._behind[write.key]

    def run_alone(self, write: StreamedWrite) -> None:
        """Run a write by itself that was to run together with others; its time limit stays the same."""
        write.is_shared, write.task = False, None
        self._make_ready(write)

    def put_back(self, writes: Sequence[StreamedWrite]) -> None:
        """Run writes together in another task; their time limit stays the same."""
        for write in reversed(writes):
            write.task = None
            self._shared.appendleft(write)
        self._wake_for_shared()

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
            for task in {write.task for write in late if write.task is not None}:
                task.cancel()
            if first is None and self._ends_at() <= now:  # the deadline of the stream has passed
                return

    def cancel(self) -> None:
        """Cancel all tasks. Writes that have not ended have no outcome."""
        for task in self._tasks:
            task.cancel()

    def _ends_at(self) -> float:
        ends_at = time.monotonic() + self._limit_s
        return ends_at if self._deadline is None else min(ends_at, self._deadline)

    def _make_ready(self, write: StreamedWrite) -> None:
        if write.is_shared:
            self._shared.append(write)
            self._wake_for_shared()
        else:
            self._ready.append(write)
            self._wake()

    def _wake_for_shared(self) -> None:
        """Wake one task for all shared writes that are ready."""
        if self._shared and not self._is_waking:
            self._is_waking = True
            self._wake()

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
            if self._shared:
                await self._work_on_shared(task)
                continue
            if not self._ready:
                waiter = loop.create_future()
                self._idle.append(waiter)
                await waiter
                continue
            write = self._ready.popleft()
            self._begin(write, task, self._ends_at())
            try:
                await self._run(write)
            finally:
                self.end(write)

    async def _work_on_shared(self, task: asyncio.Task[Any] | None) -> None:
        """Run the next shared writes, all with one time limit."""
        writes = [self._shared.popleft()]
        while self._shared and len(writes) < MAX_TOGETHER and self._shared[0].ends_at == writes[0].ends_at:
            writes.append(self._shared.popleft())
        self._is_waking = False
        self._wake_for_shared()  # for those that are left
        ends_at = self._ends_at()
        for write in writes:
            self._begin(write, task, ends_at)
        await self._run_together(writes)

    def _begin(self, write: StreamedWrite, task: asyncio.Task[Any] | None, ends_at: float) -> None:
        write.task = task
        if write not in self._running:
            write.ends_at = ends_at
            self._running[write] = None
