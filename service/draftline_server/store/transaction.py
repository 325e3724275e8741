"""Two ways to run statements: autocommit on a dedicated connection, or one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import TypeVar

import asyncpg

from ..concurrency.call_context import remaining_s
from .clock import DatabaseClock
from .driver_errors import is_retryable
from .query_stats import QueryRunner
from .statements import Statement

T = TypeVar("T")
Rows = Sequence[asyncpg.Record]

# Long work has no timeout at the database, is planned for the actual table sizes, and may use sequential scans.
SET_LONG = """SELECT set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false),
    set_config('plan_cache_mode', 'auto', false), set_config('enable_seqscan', 'on', false)"""
LONG_S = 3600.0  # time limit of one statement on a dedicated connection, in case no answer ever comes


class DedicatedConnection:
    """A dedicated connection for long work; each of its statements is its own transaction."""

    def __init__(
        self, connection: asyncpg.Connection[asyncpg.Record], runner: QueryRunner, clock: DatabaseClock
    ) -> None:
        self._connection = connection
        self._runner = runner
        self._clock = clock

    async def now(self) -> datetime:
        """Return the time by the database's clock."""
        return await self._clock.now_by(self._connection, LONG_S)

    async def fetch(self, statement: Statement, values: dict[str, object]) -> Rows:
        arguments = statement.arguments(values)
        sent = self._connection.fetch(statement.sql, *arguments, timeout=remaining_s(LONG_S))
        rows: Rows = await self._runner.run(statement.name, sent)
        return rows

    async def copy(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        limit_s = remaining_s(LONG_S)
        sent = self._connection.copy_records_to_table(table, columns=columns, records=rows, timeout=limit_s)
        await self._runner.run("copy", sent)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Yield a transaction; any exception rolls it back."""
        async with self._connection.transaction():
            yield Transaction(self._connection, self._runner, self._clock, LONG_S)

    @contextmanager
    def on_lost(self, call: Callable[[], object]) -> Iterator[None]:
        """Call `call` if the connection is lost or closed within the context."""

        def terminated(_: object) -> None:
            call()

        self._connection.add_termination_listener(terminated)
        try:
            yield
        finally:
            self._connection.remove_termination_listener(terminated)

    async def execute(self, ddl: str) -> None:
        await self._runner.run("ddl", self._connection.execute(ddl, timeout=LONG_S))


class Transaction:
    """Statements that become visible together."""

    def __init__(
        self,
        connection: asyncpg.Connection[asyncpg.Record],
        runner: QueryRunner,
        clock: DatabaseClock,
        statement_s: float | None = None,
    ) -> None:
        """Run statements on `connection`, which has begun a transaction.

        `statement_s`: time limit of each statement; None: the same as for any statement of a call.
        """
        self.connection = connection
        self.rollback_only = False
        self._runner = runner
        self._clock = clock
        self._statement_s = statement_s

    async def now(self) -> datetime:
        """Return the time by the database's clock."""
        return await self._clock.now_by(self.connection, remaining_s(self._statement_s))

    def mark_rollback_only(self) -> None:
        """Roll the transaction back at its end; its results serve as a preview."""
        self.rollback_only = True

    async def fetch(self, statement: Statement, values: dict[str, object]) -> Rows:
        limit_s = remaining_s(self._statement_s)
        sent = self.connection.fetch(statement.sql, *statement.arguments(values), timeout=limit_s)
        rows: Rows = await self._runner.run(statement.name, sent)
        return rows

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what is done within the context, and release its locks, if it raises."""
        async with self.connection.transaction():
            yield

    async def retry_part(self, part: Callable[[], Awaitable[T]], or_on: type[Exception], attempts: int = 5) -> T:
        """Run a part of the transaction behind a savepoint, again after a serialization error, deadlock or `or_on`."""
        for left in reversed(range(attempts)):
            try:
                async with self.connection.transaction():
                    return await part()
            except Exception as error:
                if not (left and (is_retryable(error) or isinstance(error, or_on))):
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")
