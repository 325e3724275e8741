"""The runner of background tasks that one process of all does at a time.

Invariants:
- A task runs only while its process holds the lease of the task. A process that loses its connection loses the lease,
  and the run is cancelled; another process may then run it.
- A run that fails never stops the runner. The task logs the failure, and runs again when it is due.
- When the runner is cancelled, every run has ended, and its lease is released, before the runner returns.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress

from ..store.advisory_locks import AdvisoryLock
from ..store.leases import Leases
from ..store.transaction import DedicatedConnection


class LeaderTask(ABC):
    """A background task.

    It is due at the start if `starts_at_once`, after each `interval_s` (None: never), and whenever it is requested. A
    run whose lease another process holds is skipped, or waits for the lease if `waits`.
    """

    name: str
    lock: AdvisoryLock
    starts_at_once = False
    waits = False

    def __init__(self, interval_s: float | None = None) -> None:
        self.interval_s = interval_s
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Make the task due. Requests that arrive before the next run starts share it."""
        self._requested.set()

    async def due(self) -> None:
        """Wait until the task is due again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.interval_s):
                await self._requested.wait()
        self._requested.clear()

    async def prepare(self) -> None:  # noqa: B027  optional
        """Do what every process has to do before each run, with or without the lease."""

    @abstractmethod
    async def run(self, connection: DedicatedConnection) -> None:
        """Do the work once. `connection` holds the lease."""

    @abstractmethod
    def failed(self, error: Exception) -> None:
        """Log that a run failed."""


class Leader:
    """Runs the background tasks of one process, each in a loop of its own."""

    def __init__(self, leases: Leases, tasks: Sequence[LeaderTask]) -> None:
        self._leases = leases
        self._tasks = tasks

    async def run(self) -> None:
        """Run the tasks whenever they are due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for task in self._tasks:
                group.create_task(self._loop(task), name=task.name)

    async def _loop(self, task: LeaderTask) -> None:
        if not task.starts_at_once:
            await task.due()
        while True:
            await run_once(self._leases, task)
            await task.due()


async def run_once(leases: Leases, task: LeaderTask) -> bool:
    """Run a task once. Return False if another process holds its lease, or if the run failed."""
    try:
        await task.prepare()
        return await leases.run(task.lock, task.run, waits=task.waits)
    except Exception as error:
        task.failed(error)
        return False
