"""The database: every statement of the service reaches PostgreSQL through it.

Invariants:
- A single statement is its own transaction; there is no BEGIN around it.
- Only work that is known to have changed nothing is retried (retries.py).
- A call that is cancelled, or whose deadline passes, cancels its query.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from ..concurrency.call_context import remaining_s
from .clock import DatabaseClock
from .connections import ENDING_S, Connections
from .driver_errors import NothingDoneError, is_lost
from .ping import Ping
from .pool_settings import PoolSettings
from .prepared import PreparedStatements
from .query_stats import QueryRunner
from .retries import Retries, raise_translated
from .schema_problems import SchemaMovedError
from .statements import Statement
from .transaction import SET_LONG, DedicatedConnection, Rows, Transaction

T = TypeVar("T")


class Database:
    """A database with a pool of connections; `open` before use, `close` after."""

    def __init__(self, url: str, settings: PoolSettings | None = None) -> None:
        self.url = url
        self.settings = settings or PoolSettings()
        self.connections = Connections(url, self.settings)
        self.observers = self.connections.observers
        self.runner = QueryRunner()
        self.clock = DatabaseClock()
        self._ping = Ping(url, self.clock, self.settings.connect_timeout_s)
        self._prepared = PreparedStatements()
        self._retries = Retries(self.settings.max_attempts)

    @property
    def retries(self) -> int:
        """The number of transactions and statements that were started again so far."""
        return self._retries.count

    @property
    def read_only_reason(self) -> str:
        """The reason why the database takes no writes, as of the last `ping`; empty if it does, or if unknown."""
        return self._ping.read_only_reason

    async def open(self, *, checked: bool = False) -> None:
        """Prepare the pool; see Connections.open."""
        await self.connections.open(checked=checked)

    async def close(self, timeout_s: float = 5.0) -> None:
        """Close the pool; connections still in use after `timeout_s` are terminated."""
        self._ping.close()
        await self.connections.close(timeout_s)

    def expect_revision(self, revision: str) -> None:
        """Have `ping` register this process as a running service, and refuse calls if the schema changes."""
        self._ping.needed_revision = revision

    async def ping(self) -> None:
        """Raise unless the database answers. Raise SchemaMovedError if its schema is not the expected one."""
        try:
            await self._ping.send()
        except SchemaMovedError as error:
            self.connections.refusal = str(error)
            raise
        self.connections.refusal = ""

    async def now(self) -> datetime:
        """Return the time by the database's clock, usually without asking the database (clock.py)."""

        async def ask() -> datetime:
            async with self.connections.acquire() as connection:
                return await self.clock.now_by(connection, remaining_s())

        now = self.clock.now()
        return await self._retries.run(ask, idempotent=True) if now is None else now

    async def fetch(self, statement: Statement, values: dict[str, object], *, idempotent: bool = False) -> Rows:
        """Run one statement as its own transaction.

        `idempotent`: send it again if its connection is lost; for reads, and for writes that store a request id.
        """

        async def attempt() -> Rows:
            async with self.connections.acquire() as connection:
                rows: Rows = await self.runner.run(statement.name, self._send(connection, statement, values))
                return rows

        return await self._retries.run(attempt, idempotent=idempotent)

    async def _send(
        self, connection: asyncpg.Connection[asyncpg.Record], statement: Statement, values: dict[str, object]
    ) -> Rows:
        """Send a statement: prepared, unless its text depends on the request and is rarely used (see prepared.py)."""
        arguments = statement.arguments(values)
        if not statement.is_shaped or self._prepared.use(statement.sql):
            prepared: Rows = await connection.fetch(statement.sql, *arguments, timeout=remaining_s())
            return prepared
        return await self._send_unprepared(connection, statement.sql, arguments)

    async def _send_unprepared(
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
            self.connections.observe(sql, error)  # the driver reports only statements that it prepares itself
        return rows

    @asynccontextmanager
    async def dedicated_connection(self) -> AsyncIterator[DedicatedConnection]:
        """Yield a dedicated connection without a time limit, for work that takes minutes."""
        async with self.connections.acquire() as connection:
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

        async def attempt() -> T:
            async with self.transaction() as transaction:
                return await work(transaction)

        return await self._retries.run(attempt, idempotent=idempotent)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Yield a transaction that is tried once, with errors as the driver raises them.

        Raises NothingDoneError if its connection is lost before the commit.
        """
        async with self.connections.acquire() as connection:
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

    async def translated(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` once, and translate the driver's errors to those of the domain."""
        try:
            return await work()
        except Exception as error:
            raise_translated(error)


async def _roll_back(connection: Any, transaction: Any) -> None:
    """Roll back within ENDING_S, or else terminate the connection: PostgreSQL then rolls back by itself."""
    try:
        async with asyncio.timeout(ENDING_S):
            await transaction.rollback()
    except Exception as error:
        if not (is_lost(error) or isinstance(error, TimeoutError | asyncpg.PostgresError)):
            raise
        connection.terminate()
