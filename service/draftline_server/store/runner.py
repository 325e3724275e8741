"""Statements of background work: on any connection of the pool, or on the one that holds the work's lease.

Work that holds a lease uses its connection for everything. If it asked for a second one, a pool whose connections are
all taken in this way would never get one back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from .database import Database
from .statements import Statement
from .transaction import DedicatedConnection, Rows, Transaction

Runner = Database | DedicatedConnection
T = TypeVar("T")


async def fetch(database: Database, runner: Runner, statement: Statement, values: dict[str, object]) -> Rows:
    """Run a statement that may be repeated."""
    if isinstance(runner, Database):
        return await runner.fetch(statement, values, idempotent=True)
    return await database.translated(lambda: runner.fetch(statement, values))


async def transact(database: Database, runner: Runner, work: Callable[[Transaction], Awaitable[T]]) -> T:
    """Run work in a transaction."""
    if isinstance(runner, Database):
        return await runner.transact(work)

    async def once() -> T:
        async with runner.transaction() as transaction:
            return await work(transaction)

    return await database.translated(once)
