"""The connection pool of a process, shared fairly among tenants.

A query has a time limit even if its call has none, and so has the release of a connection: nothing waits forever for
an answer. A connection that is not ready for reuse in time is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from ..concurrency.call_context import call_tenant, refuse_late, remaining_s
from ..concurrency.fair_semaphore import FairSemaphore
from ..domain.errors import DatabaseUnavailableError, OverloadedError
from .connecting import Connecting
from .driver_errors import OUT_OF_REACH, NothingDoneError, is_lost
from .pool import make_pool
from .pool_settings import PoolSettings
from .poolers import is_pooled

ENDING_S = 2.0  # how long a connection may take to roll back, or to be ready for the next call
RECONNECT_S = 1.0  # minimum time between two replacements of all connections
RESERVED_SHARE = 10  # one in so many connections is reserved for tenants that hold none


class Connections:
    """A pool of connections; `open` before use, `close` after."""

    def __init__(self, url: str, settings: PoolSettings) -> None:
        self._url = url
        self._settings = settings
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._connecting = Connecting(settings.idle_timeout_s)
        self._permits = FairSemaphore(settings.size, settings.size // RESERVED_SHARE)
        self._replaced_at = float("-inf")
        # Called with (sql, error or None) after each statement, including the driver's own; for tests.
        self.observers: list[Callable[[str, BaseException | None], None]] = []
        self.refusal = ""  # a reason to refuse all calls, such as another schema; empty: none
        self.exhausted = 0  # so far: calls for which no connection became free in time

    @property
    def in_use(self) -> int:
        """The number of connections in use."""
        return self._permits.in_use

    @property
    def open_count(self) -> int:
        """The number of open connections."""
        return self._pool.get_size() if self._pool is not None else 0

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a connection."""
        return self._permits.waiting

    async def open(self, *, checked: bool = False) -> None:
        """Prepare the pool; connections are made as they are needed.

        `checked`: connect once. Raise OutOfReachError if that fails, and PoolerError if the URL leads to a pooler that
        provides no sessions.
        """
        pooled = checked and await self._is_pooled()
        self._pool = await make_pool(self._url, self._settings, self._init, self._connecting.connect, is_pooled=pooled)

    async def _is_pooled(self) -> bool:
        try:
            return await is_pooled(self._url, self._settings.connect_timeout_s)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False  # the first statement reports the reason

    async def close(self, timeout_s: float) -> None:
        """Close the pool; connections still in use after `timeout_s` are terminated."""
        self._connecting.close()
        if self._pool is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), timeout_s)
        except TimeoutError:
            self._pool.terminate()
        self._pool = None

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Hold a connection during the context.

        Raises DatabaseUnavailableError if the pool is closed or no connection can be made, OverloadedError if none
        becomes free in time, and NothingDoneError if the server rejects it.
        """
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailableError("the service is stopping; nothing was changed, try again later")
        if self.refusal:
            raise DatabaseUnavailableError(f"{self.refusal}; nothing was changed")
        limit_s = min(self._settings.connect_timeout_s, remaining_s() or 1e9)
        tenant_id = call_tenant.get()
        if not self._permits.try_acquire(tenant_id):
            await self._wait_for_permit(tenant_id, limit_s)
        try:
            connection = await _connection_of(pool, limit_s)
            try:
                yield connection
            except asyncpg.ReadOnlySQLTransactionError:
                await self._replace_all(pool)
                raise
            finally:
                await _release(pool, connection)
        finally:
            self._permits.release(tenant_id)

    async def _wait_for_permit(self, tenant_id: str, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await self._permits.acquire(tenant_id)
        except TimeoutError as error:
            refuse_late()
            self.exhausted += 1
            problem = "all connections to the database are busy; nothing was changed, try again later"
            raise OverloadedError(problem) from error

    async def _replace_all(self, pool: Any) -> None:
        """Replace all connections: after a failover, new ones may reach another server than the existing ones."""
        if time.monotonic() > self._replaced_at + RECONNECT_S:
            self._replaced_at = time.monotonic()
            self._connecting.close()
            await pool.expire_connections()

    async def _init(self, connection: Any) -> None:
        connection.add_query_logger(lambda sent: self.observe(sent.query, sent.exception))

    def observe(self, sql: str, error: BaseException | None) -> None:
        """Report a statement to the observers."""
        for observer in self.observers:
            observer(sql, error)


async def _connection_of(pool: Any, limit_s: float) -> asyncpg.Connection[asyncpg.Record]:
    """Acquire a connection from the pool, which has one for each permit."""
    try:
        async with asyncio.timeout(limit_s):  # the driver's own timeout would create a task
            connection: asyncpg.Connection[asyncpg.Record] = await pool.acquire()
    except TimeoutError as error:
        refuse_late()
        raise DatabaseUnavailableError(OUT_OF_REACH) from error
    except Exception as error:
        # PostgresError: the server rejected the connection itself, such as its user or its database.
        if is_lost(error) or isinstance(error, asyncpg.PostgresError):
            raise NothingDoneError from error
        raise
    return connection


async def _release(pool: Any, connection: Any) -> None:
    """Return a connection to the pool. The driver closes one that is not ready for reuse in time."""
    with suppress(TimeoutError):
        await pool.release(connection, timeout=ENDING_S)
