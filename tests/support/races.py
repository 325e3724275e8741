"""Hold calls before they commit and wait for lock waits, so that each race happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from draftline_server.store.database import Database

from support.tenant_stores import World

BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND cardinality(pg_blocking_pids(pid)) > 0
"""


class Held(Database):
    """Stops each transaction when its work is done, until it is let go."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.worked = asyncio.Event()
        self.let_go = asyncio.Event()

    async def transact(self, work: Callable[..., Awaitable[Any]], **rest: Any) -> Any:
        async def held(transaction: Any) -> Any:
            result = await work(transaction)
            self.worked.set()
            await self.let_go.wait()
            return result

        return await super().transact(held, **rest)


class Races:
    """A database that is empty at the start, with a world whose calls are held, and one whose calls run."""

    def __init__(self, held: Held, free: Database, connection: asyncpg.Connection) -> None:
        self.held, self.connection = held, connection
        self.holding, self.world = World(held, "t"), World(free, "t")
        self.replacing = World(free, "t", partial_updates=False)

    @asynccontextmanager
    async def behind(self, first: Awaitable[Any]) -> AsyncIterator[None]:
        """The block runs while `first` has done its work and not committed; at its end `first` commits."""
        task = asyncio.ensure_future(first)
        worked = asyncio.ensure_future(self.held.worked.wait())
        await asyncio.wait([task, worked], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            worked.cancel()
            task.result()
        try:
            yield
        finally:
            self.held.let_go.set()
            await task

    async def waiting(self, call: Awaitable[Any]) -> asyncio.Future[Any]:
        """The call, once it waits for a lock."""
        task = asyncio.ensure_future(call)
        while not await self.connection.fetchval(BLOCKED):
            assert not task.done(), "it waits for nothing"
        return task
