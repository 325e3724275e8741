"""Leases: the exclusive right of one process to do a piece of work, held as an advisory lock.

Invariants:
- A lease ends with its connection: PostgreSQL releases the lock, and the work is cancelled here.
- At most one connection of a process waits for the same lease.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from ..domain.errors import DatabaseUnavailableError
from .advisory_locks import AdvisoryLock
from .database import Database
from .driver_errors import OUT_OF_REACH
from .statements import load
from .transaction import DedicatedConnection

SQL = load("leases")
POLL_S = 0.2

Work = Callable[[DedicatedConnection], Awaitable[None]]


class Leases:
    """The leases of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._local: defaultdict[AdvisoryLock, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, lock: AdvisoryLock, work: Work, *, waits: bool = False) -> bool:
        """Run `work` with the connection that holds the lease, release it, and return True.

        While another process, or another task of this one, holds the lease, wait for it if `waits`, and otherwise
        return False at once. Raises DatabaseUnavailableError if the connection is lost.
        """
        local = self._local[lock]
        if local.locked() and not waits:
            return False
        async with local:
            return await self._database.translated(lambda: self._run(lock, work, waits=waits))

    async def _run(self, lock: AdvisoryLock, work: Work, *, waits: bool) -> bool:
        key: dict[str, object] = {"lock": lock}
        async with self._database.dedicated_connection() as connection:
            while not (await connection.fetch(SQL["try_lock"], key))[0]["locked"]:
                if not waits:
                    return False
                await asyncio.sleep(POLL_S)
            await _run_until_lost(connection, lock, work)
            await connection.fetch(SQL["unlock"], key)
        return True


async def _run_until_lost(connection: DedicatedConnection, lock: AdvisoryLock, work: Work) -> None:
    """Run `work`, and cancel it when the connection is lost."""

    async def run() -> None:
        await work(connection)

    task = asyncio.create_task(run(), name=f"lease {lock.name.lower()}")
    with connection.on_lost(task.cancel):
        try:
            await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            raise DatabaseUnavailableError(OUT_OF_REACH) from None
