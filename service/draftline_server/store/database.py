"""The connection pool: how every statement reaches PostgreSQL.

Invariants:
- A single statement is its own transaction; there is no BEGIN around it.
- What is retried is only what is known to have changed nothing: transactions that
  PostgreSQL rolled back (SQLSTATE 40), and those whose connection could not be had or
  was lost before the commit. Reads are sent again when their connection is lost, and so
  are writes that keep their request id, for those cannot happen twice.
- A call that is cancelled, or whose deadline passes, cancels its query. Whatever has no
  deadline has a limit all the same, and so has the return of a connection: no answer is
  waited for for ever, and a connection of which that is not sure goes with its call.
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
from .transaction import SET_LONG, Rows, Session, Transaction, call_tenant, is_late, refuse_late, remaining_s

T = TypeVar("T")

BACKOFF_S = (0.02, 1.0)  # the longest pause before the second attempt, which doubles, and its bound
ENDING_S = 2.0  # how long a connection may take to roll back, or to be ready for the next call
RECONNECT_S = 1.0  # between two times that all connections are made anew
_PASSING = (ContentionError, DatabaseUnavailableError, OverloadedError)
KEPT_PART = 10  # of the connections is kept for tenants who have none


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
        # Called with (sql, error or None) after whatever is sent, by the driver too; for tests.
        self.observers: list[Callable[[str, BaseException | None], None]] = []
        self.runner = QueryRunner()
        self._prepared = PreparedStatements()
        self.clock = DatabaseClock()
        self.retries = 0  # so far: transactions and statements that were begun anew
        self.exhausted = 0  # so far: times that no connection came free in time

    @property
    def in_use(self) -> int:
        """Connections that somebody has."""
        return self._turns.taken

    @property
    def connections(self) -> int:
        """Connections that are made and not closed."""
        return self._pool.get_size() if self._pool is not None else 0

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return self._turns.waiting

    async def open(self, *, checked: bool = False) -> None:
        """Prepare the pool; connections are made as they are needed.

        `checked`: PoolerError if a pooler leads there that gives no sessions. Whoever is out of reach is not looked at.
        """
        pooled = checked and await self._is_pooled()
        self._pool = await make_pool(self.url, self.settings, self._init, self._connecting.connect, is_pooled=pooled)

    async def _is_pooled(self) -> bool:
        try:
            return await is_pooled(self.url, self.settings.connect_timeout_s)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False  # the first statement tells why

    async def close(self, timeout_s: float = 5.0) -> None:
        """Closes the pool; connections still in use after `timeout_s` are cut."""
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
        """Raises unless the database answers, over a connection of its own: a busy pool is no database that is away."""
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
        """Return the time by the database's clock, which is known without asking as a rule (clock.py)."""

        async def ask() -> datetime:
            async with self._connection() as connection:
                return await self.clock.now_by(connection, remaining_s())

        moment = self.clock.now()
        return await self._retrying(ask, idempotent=True) if moment is None else moment

    async def fetch(self, statement: Statement, values: dict[str, object], *, idempotent: bool = False) -> Rows:
        """Runs one statement as its own transaction.

        `idempotent`: it is sent again when its connection is lost; for reads, and for writes that keep a request id.
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
        """Send the unnamed statement: the next one takes its place, so nothing of it stays."""
        error: BaseException | None = None
        try:
            unprepared = await connection.prepare(sql, name="", timeout=remaining_s())
            rows: Rows = await unprepared.fetch(*arguments, timeout=remaining_s())
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._observe(_Sent(sql, error))  # the driver reports only what it prepares by itself
        return rows

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection of one's own without a time limit, for work that takes minutes."""
        async with self._connection() as connection:
            await connection.execute(SET_LONG)
            try:
                yield Session(connection, self.runner, self.clock)
            finally:
                # Closed and not given back: its settings and locks end with it. It may be gone by now.
                with suppress(TimeoutError, asyncpg.InterfaceError):
                    await connection.close(timeout=ENDING_S)

    async def transact(self, work: Callable[[Transaction], Awaitable[T]], *, idempotent: bool = False) -> T:
        """Runs `work` in a transaction, again when PostgreSQL rolled it back for its neighbours' sake.

        `work` must have no effect but on the database. An exception rolls back. `idempotent`: see `fetch`.
        """

        async def once() -> T:
            async with self.transaction() as transaction:
                return await work(transaction)

        return await self._retrying(once, idempotent=idempotent)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction, tried once, with errors as the driver raises them.

        NothingDoneError if its connection is lost before the commit.
        """
        async with self._connection() as connection:
            transaction = connection.transaction()
            try:
                await self.runner.run("begin", transaction.start())
                work = Transaction(connection, self.runner, self.clock)
                yield work
                if not work.kept:
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
        for attempt in range(1, self.settings.retries + 1):
            try:
                return await once()
            except Exception as error:
                lost = lost or is_lost(error)
                again = is_retryable(error) or isinstance(error, NothingDoneError) or (idempotent and is_lost(error))
                if not again or attempt == self.settings.retries:
                    raise_translated(error, lost=lost)
            self.retries += 1
            await asyncio.sleep(min(pause_s(attempt), remaining_s() or 1e9))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def translated(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work` once, with the driver's errors as those of the domain."""
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
        """A connection of the pool, which has one for each turn."""
        try:
            async with asyncio.timeout(limit_s):  # the driver's own would make a task of it
                connection: asyncpg.Connection[asyncpg.Record] = await pool.acquire()
        except TimeoutError as error:
            refuse_late()
            raise DatabaseUnavailableError(OUT_OF_REACH) from error
        except Exception as error:
            # PostgresError: whatever it says of who connects, and to what.
            if is_lost(error) or isinstance(error, asyncpg.PostgresError):
                raise NothingDoneError from error
            raise
        return connection

    async def _connect_anew(self, pool: Any) -> None:
        """After a failover, who connects now may be led to another server than those who are connected."""
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
    """A random pause after so many attempts, so that those who collided do not meet again."""
    first_s, most_s = BACKOFF_S
    return uniform(0, min(first_s * 2 ** (attempt - 1), most_s))  # noqa: S311  not for secrets


def raise_translated(error: Exception, *, lost: bool = False) -> NoReturn:
    """Raises what the error is for those above; see errors.translate."""
    translated = translate(error, lost=lost)
    if isinstance(translated, _PASSING) and is_late():
        # Not that the database is away, or busy: another caller, with more time, may well be answered.
        translated = DeadlineExceededError(f"the call's time is over; {WRITE_IS_UNKNOWN}")
    if translated is None or translated is error:
        raise error
    # What PostgreSQL says of something unforeseen may hold contents, and it would be in the log.
    raise translated from (None if isinstance(translated, UnforeseenError) else error)


async def _roll_back(connection: Any, transaction: Any) -> None:
    """In time, or else with the connection: PostgreSQL then rolls back by itself."""
    try:
        async with asyncio.timeout(ENDING_S):
            await transaction.rollback()
    except Exception as error:
        if not (is_lost(error) or isinstance(error, TimeoutError | asyncpg.PostgresError)):
            raise
        connection.terminate()


async def _release(pool: Any, connection: Any) -> None:
    """Gives a connection back. One that is not ready in time was closed by that."""
    with suppress(TimeoutError):
        await pool.release(connection, timeout=ENDING_S)
