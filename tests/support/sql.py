"""Run SQL from blocking test code, on any thread, over connections that stay open between calls."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import asyncpg

MAX_IDLE = 8  # connections


class _Connections:
    """Idle connections by URL, and the event loop in a background thread that they belong to."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._idle: list[tuple[str, asyncpg.Connection]] = []
        threading.Thread(target=self._loop.run_forever, name="sql", daemon=True).start()

    def fetch(self, url: str, query: str, *values: Any) -> list[asyncpg.Record]:
        return asyncio.run_coroutine_threadsafe(self._fetch(url, query, *values), self._loop).result()

    async def _fetch(self, url: str, query: str, *values: Any) -> list[asyncpg.Record]:
        connection = self._take(url)
        if connection is not None:
            try:
                await connection.execute("SELECT 1")  # it may have been terminated, or its server stopped
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()
                connection = None
        if connection is None:
            # Statements are not cached: tests change tables between calls.
            connection = await asyncpg.connect(url, statement_cache_size=0)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *values)
        except BaseException:
            connection.terminate()
            raise
        await self._give_back(url, connection)
        return rows

    def _take(self, url: str) -> asyncpg.Connection | None:
        for index, (idle_url, connection) in enumerate(self._idle):
            if idle_url == url:
                del self._idle[index]
                return connection
        return None

    async def _give_back(self, url: str, connection: asyncpg.Connection) -> None:
        self._idle.append((url, connection))
        if len(self._idle) > MAX_IDLE:
            _, oldest = self._idle.pop(0)
            oldest.terminate()


_connections = _Connections()


def fetch(url: str, query: str, *values: Any) -> list[asyncpg.Record]:
    """Run one statement on the database at `url` and return its rows."""
    return _connections.fetch(url, query, *values)
