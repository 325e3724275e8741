"""The connection pool through which every statement reaches PostgreSQL.

Invariants:
- A single statement is its own transaction; there is no BEGIN around it.
- Only work that is known to have changed nothing is retried: transactions that
  PostgreSQL rolled back (SQLSTATE 40), and those whose connection could not be acquired
  or was lost before the commit. When their connection is lost, reads are sent again, and
  so are writes that store their request id, because those cannot happen twice.
- A call that is cancelled, or whose deadline passes, cancels its query. Queries without
  a deadline have a time limit too, and so has the release of a connection: nothing waits
  forever for an answer. A connection that is not ready for reuse in time is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from random import uniform
from typing import Any, NamedTuple, NoReturn, TypeVar

import asyncpg

from ..concurrency.fair_semaphore import FairSemaphore
from ..domain.errors import (
    WRITE_IS_UNKNOWN,
    ContentionError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    OverloadedError,
)
from .clock import DatabaseClock
from .connecting import Connecting
from .driver_errors import OUT_OF_REACH, NothingDoneError, UnforeseenError, is_lost, is_retryable, translate
from .pool import PoolSettings, make_pool
from .poolers import is_pooled
from .prepared import PreparedStatements
from .query_stats import QueryRunner
from .statements import Statement
from .transaction import (
    SET_LONG,
    DedicatedConnection,
    Rows,
    Transaction,
    call_tenant,
    is_late,
    refuse_late,
    remaining_s,
)

T = TypeVar("T")

BACKOFF_S = (0.02, 1.0)  # maximum pause before the second attempt, doubled for each further one, and its cap
ENDING_S = 2.0  # how long a connection may take to roll back, or to be ready for the next call
RECONNECT_S = 1.0  # minimum time between two replacements of all connections
_PASSING = (ContentionError, DatabaseUnavailableError, OverloadedError)
KEPT_PART = 10  # one in so many connections is reserved for tenants that hold none


class _Sent(NamedTuple):
    """A statement that was sent, named as in the driver's own reports."""

    query: str
    exception: BaseException | None


class Database:
    """A pool of connections; `open` before use, `close` after."""

    def __init__(self, url: str, settings: PoolSettings | None = None) -> None:
        self.url = url
        self.settings = settings or PoolSettings()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._connecting = Connecting(self.settings.idle_timeout_s)
        self._turns = FairSemaphore(self.settings.size, self.settings.size // KEPT_PART)
        self._pinging: asyncpg.Connection[asyncpg.Record] | None = None
        self._connected_anew_at = float("-inf")
        # Called with (sql, error or None) after each statement, including the driver's own; for tests.
        self.observers: list[Callable[[str, BaseException | None], None]] = []
        self.runner = QueryRunner()
        self._prepared = PreparedStatements()
        self.clock = DatabaseClock()
        self.retries = 0  # so far: transactions and statements that were started again
        self.exhausted = 0  # so far: calls for which no connection became free in time

    @property
    def in_use(self) -> int:
        """The number of connections in use."""
        return self._turns.taken

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return self._pool.get_size() if self._pool is not None else 0

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a connection."""
        return self._turns.waiting

    async def open(self, *, checked: bool = False) -> None:
        """Prepare the pool; connections are made as they are needed.

        `checked`: raise PoolerError if the URL leads to a pooler that provides no sessions. An unreachable server is
        not checked.
        """
        pooled = checked and await self._is_pooled()
        self._pool = await make_pool(self.url, self.settings, self._init, self._connecting.connect, is_pooled=pooled)

    async def _is_pooled(self) -> bool:
        try:
            return await is_pooled(self.url, self.settings.connect_timeout_s)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False  # the first statement reports the reason

    async def close(self, timeout_s: float = 5.0) -> None:
        """Close the pool; connections still in use after `timeout_s` are terminated."""
        self._drop_ping()
        self._connecting.close()
        if self._pool is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), timeout_s)
        except TimeoutError:
            self._pool.terminate()
        self._pool = None

    async def ping(self) -> None:
        """Raise unless the database answers, over a dedicated connection: a busy pool does not mean an outage."""
        timeout_s = self.settings.connect_timeout_s
        try:
            if self._pinging is None or self._pinging.is_closed():
                settings = {"application_name": "draftline health"}
                self._pinging = await asyncpg.connect(self.url, timeout=timeout_s, server_settings=settings)
            await self.clock.read(self._pinging, timeout_s)
        except BaseException:
            self._drop_ping()
            raise

    def _drop_ping(self) -> None:
        if self._pinging is not None:
            self._pinging.terminate()
            self._pinging = None

    async def now(self) -> datetime:
        """Return the time by the database's clock, usually without asking the database (clock.py)."""

        async def ask() -> datetime:
            async with self._connection() as connection:
                return await self.clock.now_by(connection, remaining_s())

        moment = self.clock.now()
        return await self._retrying(ask, idempotent=True) if moment is None else moment

    async def fetch(self, statement: Statement, values: dict[str, object], *, idempotent: bool = False) -> Rows:
        """Run one statement as its own transaction.

        `idempotent`: send it again if its connection is lost; for reads, and for writes that store a request id.
        """

        async def once() -> Rows:
            async with self._connection() as connection:
                rows: Rows = await self.runner.run(statement.name, self._sent(connection, statement, values))
                return rows

        return await self._retrying(once, idempotent=idempotent)

    async def _sent(
        self, connection: asyncpg.Connection[asyncpg.Record], statement: Statement, values: dict[str, object]
    ) -> Rows:
        """Send a statement: prepared, unless its text depends on the request and is rarely used (see prepared.py)."""
        arguments = statement.arguments(values)
        if not statement.is_shaped or self._prepared.use(statement.sql):
            prepared: Rows = await connection.fetch(statement.sql, *arguments, timeout=remaining_s())
            return prepared
        return await self._sent_unprepared(connection, statement.sql, arguments)

    async def _sent_unprepared(
        self, connection: asyncpg.Connection[asyncpg.Record], sql: str, arguments: list[object]
    ) -> Rows:
        """Send it as the unnamed statement, which the next one replaces, so nothing of it stays on the server."""
        error: BaseException | None = None
        try:
            unprepared = await connection.prepare(sql, name="", timeout=remaining_s())
            rows: Rows = await unprepared.fetch(*arguments, timeout=remaining_s())
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._observe(_Sent(sql, error))  # the driver reports only statements that it prepares itself
        return rows

    @asynccontextmanager
    async def dedicated_connection(self) -> AsyncIterator[DedicatedConnection]:
        """Yield a dedicated connection without a time limit, for work that takes minutes."""
        async with self._connection() as connection:
            await connection.execute(SET_LONG)
            try:
                yield DedicatedConnection(connection, self.runner, self.clock)
            finally:
                # Closed instead of released: its settings and locks end with it. It may be lost by now.
                with suppress(TimeoutError, asyncpg.InterfaceError):
                    await connection.close(timeout=ENDING_S)

    async def transact(self, work: Callable[[Transaction], Awaitable[T]], *, idempotent: bool = False) -> T:
        """Run `work` in a transaction, again if PostgreSQL rolled it back because of concurrent transactions.

        `work` must have no side effects outside the database. An exception rolls back. `idempotent`: see `fetch`.
        """

        async def once() -> T:
            async with self.transaction() as transaction:
                return await work(transaction)

        return await self._retrying(once, idempotent=idempotent)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Yield a transaction that is tried once, with errors as the driver raises them.

        Raises NothingDoneError if its connection is lost before the commit.
        """
        async with self._connection() as connection:
            transaction = connection.transaction()
            try:
                await self.runner.run("begin", transaction.start())
                work = Transaction(connection, self.runner, self.clock)
                yield work
                if work.rollback_only:
                    await transaction.rollback()
                    return
            except BaseException as error:
                if is_lost(error):
                    raise NothingDoneError from error
                await _roll_back(connection, transaction)
                raise
            await self.runner.run("commit", transaction.commit())

    async def _retrying(self, once: Callable[[], Awaitable[T]], *, idempotent: bool) -> T:
        lost = False
        for attempt in range(1, self.settings.max_attempts + 1):
            try:
                return await once()
            except Exception as error:
                lost = lost or is_lost(error)
                again = is_retryable(error) or isinstance(error, NothingDoneError) or (idempotent and is_lost(error))
                if not again or attempt == self.settings.max_attempts:
                    raise_translated(error, lost=lost)
            self.retries += 1
            await asyncio.sleep(min(pause_s(attempt), remaining_s() or 1e9))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def translated(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` once, and translate the driver's errors to those of the domain."""
        try:
            return await work()
        except Exception as error:
            raise_translated(error)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailableError("the service is stopping; nothing was changed, try again later")
        limit_s = min(self.settings.connect_timeout_s, remaining_s() or 1e9)
        tenant_id = call_tenant.get()
        if not self._turns.try_acquire(tenant_id):
            try:
                async with asyncio.timeout(limit_s):
                    await self._turns.acquire(tenant_id)
            except TimeoutError as error:
                refuse_late()
                self.exhausted += 1
                problem = "all connections to the database are busy; nothing was changed, try again later"
                raise OverloadedError(problem) from error
        try:
            connection = await self._acquired(pool, limit_s)
            try:
                yield connection
            except asyncpg.ReadOnlySQLTransactionError:
                await self._connect_anew(pool)
                raise
            finally:
                await _release(pool, connection)
        finally:
            self._turns.release(tenant_id)

    @staticmethod
    async def _acquired(pool: Any, limit_s: float) -> asyncpg.Connection[asyncpg.Record]:
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

    async def _connect_anew(self, pool: Any) -> None:
        """Replace all connections: after a failover, new ones may reach another server than the existing ones."""
        if time.monotonic() > self._connected_anew_at + RECONNECT_S:
            self._connected_anew_at = time.monotonic()
            self._connecting.close()
            await pool.expire_connections()

    async def _init(self, connection: Any) -> None:
        connection.add_query_logger(self._observe)

    def _observe(self, query: Any) -> None:
        for observer in self.observers:
            observer(query.query, query.exception)


def pause_s(attempt: int) -> float:
    """Return a random pause after so many attempts, so that calls that collided do not collide again."""
    first_s, most_s = BACKOFF_S
    return uniform(0, min(first_s * 2 ** (attempt - 1), most_s))  # noqa: S311  not for secrets


def raise_translated(error: Exception, *, lost: bool = False) -> NoReturn:
    """Raise the domain's error for one of the driver's, or else the error itself; see driver_errors.translate."""
    translated = translate(error, lost=lost)
    if isinstance(translated, _PASSING) and is_late():
        # Do not report the database as unavailable or busy: a call with a later deadline may succeed.
        translated = DeadlineExceededError(f"the call's time is over; {WRITE_IS_UNKNOWN}")
    if translated is None or translated is error:
        raise error
    # PostgreSQL's message for an unforeseen error may hold record contents, which must not reach the log.
    raise translated from (None if isinstance(translated, UnforeseenError) else error)


async def _roll_back(connection: Any, transaction: Any) -> None:
    """Roll back within ENDING_S, or else terminate the connection: PostgreSQL then rolls back by itself."""
    try:
        async with asyncio.timeout(ENDING_S):
            await transaction.rollback()
    except Exception as error:
        if not (is_lost(error) or isinstance(error, TimeoutError | asyncpg.PostgresError)):
            raise
        connection.terminate()


async def _release(pool: Any, connection: Any) -> None:
    """Return a connection to the pool. The driver closes one that is not ready for reuse in time."""
    with suppress(TimeoutError):
        await pool.release(connection, timeout=ENDING_S)
