"""Transactions that lock tables exclusively, briefly: they give up at once if a lock is not free, and try again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from ..store.advisory_locks import AdvisoryLock
from ..store.connect_errors import connect
from ..store.poolers import is_pooled
from .definitions import LayoutError, fetch
from .layout import qualified

CONNECT_S = 60.0
LOCK_MS = 100  # calls wait behind a session that waits for an exclusive lock
ATTEMPTS = 100
MAX_PAUSE_S = 2.0


class LockError(LayoutError):
    """A lock was not free in time. Nothing was changed."""


@asynccontextmanager
async def tool_connection(url: str) -> AsyncIterator[Any]:
    """Yield a connection that excludes migrations and other changes of the partitions."""
    await is_pooled(url, CONNECT_S)  # raises PoolerError if a pooler provides no sessions
    settings = {"application_name": "draftline partitions", "timezone": "UTC", "jit": "off"}
    connection = await connect(url, CONNECT_S, server_settings=settings)
    try:
        (row,) = await fetch(connection, "lock_tool", tool_lock=AdvisoryLock.MIGRATION)
        if not row["locked"]:
            raise LockError("a migration or another command works on this database", "run the command again later")
        yield connection
    finally:
        await connection.close(timeout=CONNECT_S)


async def run_briefly(
    connection: Any, tables: Sequence[str], work: Callable[[], Awaitable[None]], max_lock_s: float
) -> float:
    """Run `work` in a transaction that locks tables exclusively, and return the milliseconds that they were locked.

    Raise LockError if the locks are not free in any attempt, or if the work takes longer than `max_lock_s`.
    """
    holders = "an unknown session"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
                locked = ", ".join(f"ONLY {qualified(table)}" for table in tables)
                await connection.execute(f"LOCK TABLE {locked} IN ACCESS EXCLUSIVE MODE")
                start = time.perf_counter()
                await connection.execute(f"SET LOCAL statement_timeout = {max(1, round(max_lock_s * 1000))}")
                async with asyncio.timeout(max_lock_s):
                    await work()
            return (time.perf_counter() - start) * 1000
        except (asyncpg.QueryCanceledError, TimeoutError) as error:
            message = f"{', '.join(tables)} would be locked for longer than {max_lock_s:g} s"
            raise LockError(
                message, "nothing was changed; run the command at a quiet time with --max-lock-s"
            ) from error
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            holders = await _holders(connection, tables)
            await asyncio.sleep(random.uniform(0.02, min(0.05 * 2 ** min(attempt, 6), MAX_PAUSE_S)))  # noqa: S311
    message = f"no lock on {', '.join(tables)} in {ATTEMPTS} attempts; it is held by {holders}"
    raise LockError(message, "nothing was changed; end that session, and run the command again")


async def _holders(connection: Any, tables: Sequence[str]) -> str:
    """Return the sessions that hold locks on tables. Cancel autovacuum, which does it again later."""
    rows = await fetch(connection, "lock_holders", names=list(tables))
    for row in rows:
        if row["is_autovacuum"]:
            try:
                await connection.execute("SELECT pg_cancel_backend($1)", row["pid"])
            except asyncpg.InsufficientPrivilegeError:
                continue
    texts = [f"pid {row['pid']} ({row['application'] or 'no application_name'}, {row['state']})" for row in rows]
    return "; ".join(texts) or "a session that has ended"
