"""The connection pool: how every statement reaches PostgreSQL.

Invariants:
- A single statement is its own transaction; there is no BEGIN around it.
- What is retried is only what is known to have changed nothing: transactions that
  PostgreSQL rolled back (SQLSTATE 40), and connections that failed before a
  statement was sent. Reads are sent again when their connection is lost, and so are
  writes that keep their request id, for those cannot happen twice.
- A call that is cancelled, or whose deadline passes, cancels its query.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ..domain.errors import DatabaseUnavailableError, OverloadedError
from .errors import LOST_CONNECTION, is_retryable, translate
from .statements import Statement
from .transaction import SET_LIMIT, SET_LONG, Rows, Session, Transaction, remaining_s

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PoolSettings:
    size: int = 20
    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 30.0
    statement_timeout_s: float = 30.0
    retries: int = 5


class _NotSentError(Exception):
    """No connection could be had, so nothing was sent."""


class Database:
    """A pool of connections; `open` before use, `close` after."""

    def __init__(self, url: str, settings: PoolSettings | None = None) -> None:
        self.url = url
        self.settings = settings or PoolSettings()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._pinging: asyncpg.Connection[asyncpg.Record] | None = None
        # Called with (sql, error or None) after each statement; for logs, metrics and tests.
        self.observers: list[Callable[[str, BaseException | None], None]] = []

    async def open(self) -> None:
        """Prepares the pool; connections are made as they are needed."""
        settings = self.settings
        self._pool = await asyncpg.create_pool(
            self.url,
            min_size=0,
            max_size=settings.size,
            timeout=settings.connect_timeout_s,
            max_inactive_connection_lifetime=settings.idle_timeout_s,
            init=self._init,
            reset=_reset,
            statement_cache_size=512,
            max_cacheable_statement_size=64 * 1024,  # that of a merged page after a token has 16 KiB and more
            server_settings={
                "application_name": "draftline",
                "statement_timeout": str(int(settings.statement_timeout_s * 1000)),
                "idle_in_transaction_session_timeout": "60000",
                "timezone": "UTC",
                "jit": "off",
                # Statements are planned once a connection: planning a merged page takes 2.5 ms, running it 1.
                "plan_cache_mode": "force_generic_plan",
                # And so a plan must not be one for the small table that there was when it was made. What no
                # index serves is read through the primary key then, a tenth slower than it could be.
                "enable_seqscan": "off",
                # A page is read in a millisecond; starting workers for it takes four.
                "max_parallel_workers_per_gather": "0",
            },
        )

    async def close(self, timeout_s: float = 5.0) -> None:
        """Closes the pool; connections still in use after `timeout_s` are cut."""
        self._drop_ping()
        if self._pool is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), timeout_s)
        except TimeoutError:
            self._pool.terminate()
        self._pool = None

    async def ping(self) -> None:
        """Raises unless the database answers, over a connection of its own: a busy pool is no database that is away."""
        timeout_s = self.settings.connect_timeout_s
        try:
            if self._pinging is None or self._pinging.is_closed():
                settings = {"application_name": "draftline health"}
                self._pinging = await asyncpg.connect(self.url, timeout=timeout_s, server_settings=settings)
            await self._pinging.fetchval("SELECT 1", timeout=timeout_s)
        except BaseException:
            self._drop_ping()
            raise

    def _drop_ping(self) -> None:
        if self._pinging is not None:
            self._pinging.terminate()
            self._pinging = None

    async def fetch(self, statement: Statement, values: dict[str, object], *, resend: bool = False) -> Rows:
        """Runs one statement as its own transaction.

        `resend`: it is sent again when its connection is lost; for reads, and for writes that keep a request id.
        """

        async def once() -> Rows:
            async with self._connection() as connection:
                rows: Rows = await connection.fetch(statement.sql, *statement.arguments(values), timeout=remaining_s())
                return rows

        return await self._retrying(once, resend=resend)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection of one's own without a time limit, for work that takes minutes."""
        async with self._connection() as connection:
            await connection.execute(SET_LONG)
            try:
                yield Session(connection)
            finally:
                # Closed and not given back: its settings and locks end with it.
                await connection.close(timeout=5)

    async def transact(self, work: Callable[[Transaction], Awaitable[T]], *, resend: bool = False) -> T:
        """Runs `work` in a transaction, again when PostgreSQL rolled it back for its neighbours' sake.

        `work` must have no effect but on the database. An exception rolls back. `resend`: see `fetch`.
        """

        async def once() -> T:
            async with self.transaction() as transaction:
                return await work(transaction)

        return await self._retrying(once, resend=resend)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction, tried once, with errors as the driver raises them; it ends by the call's deadline."""
        async with self._connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                remaining = remaining_s()
                if remaining is not None:
                    await connection.execute(SET_LIMIT, str(max(1, int(remaining * 1000))))
                work = Transaction(connection)
                yield work
            except BaseException:
                await self._roll_back(transaction)
                raise
            if work.kept:
                await transaction.commit()
            else:
                await transaction.rollback()

    @staticmethod
    async def _roll_back(transaction: Any) -> None:
        # A connection that is gone has rolled back by itself; its own error says more.
        with suppress(*LOST_CONNECTION):
            await transaction.rollback()

    async def _retrying(self, once: Callable[[], Awaitable[T]], *, resend: bool) -> T:
        def again(error: BaseException) -> bool:
            return (
                is_retryable(error)
                or isinstance(error, _NotSentError)
                or (resend and isinstance(error, LOST_CONNECTION))
            )

        async def attempts() -> T:
            try:
                return await once()
            except Exception as error:
                if not again(error):
                    raise
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(again),
                stop=stop_after_attempt(self.settings.retries),
                wait=wait_random_exponential(multiplier=0.02, max=1.0),
                reraise=True,
            ):
                with attempt:
                    return await once()
            raise AssertionError("unreachable: tenacity raises after its last attempt")

        return await self.translated(attempts)

    async def translated(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work` once, with the driver's errors as those of the domain."""
        try:
            return await work()
        except _NotSentError as error:
            raise DatabaseUnavailableError("the database is out of reach; nothing was sent to it") from error
        except Exception as error:
            translated = translate(error)
            if translated is None:
                raise
            raise translated from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailableError("the service is stopping")
        try:
            connection = await pool.acquire(timeout=min(self.settings.connect_timeout_s, remaining_s() or 1e9))
        except TimeoutError as error:
            if pool.get_size() >= self.settings.size and pool.get_idle_size() == 0:
                raise OverloadedError("all connections to the database are busy; try again later") from error
            raise DatabaseUnavailableError("the database does not answer") from error
        except (*LOST_CONNECTION, asyncpg.PostgresError) as error:  # whatever it says of who connects, and to what
            raise _NotSentError from error
        try:
            yield connection
        finally:
            await pool.release(connection)

    async def _init(self, connection: Any) -> None:
        connection.add_query_logger(self._observe)

    def _observe(self, query: Any) -> None:
        for observer in self.observers:
            observer(query.query, query.exception)


async def _reset(connection: Any) -> None:
    """Makes a connection ready for the next call, which costs a round trip only where something is left over.

    Nothing here sets what outlives a transaction, but a session, and that closes its connection.
    """
    if connection.is_in_transaction():
        await connection.reset()
