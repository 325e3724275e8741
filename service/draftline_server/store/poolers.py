"""Detect poolers between us and PostgreSQL, such as PgBouncer: each connection must have a session of its own.

The service needs sessions for settings, prepared statements, advisory locks, temporary tables and LISTEN. A pooler in
transaction or statement mode provides none, and half of the calls would fail, so it is rejected at startup.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import asyncpg

from ..domain.errors import OperatorError, OutOfReachError
from .connect_errors import connect

ANSWER_S = 10.0  # a notification takes milliseconds, if it arrives at all
SET = (
    "/* set_settings */ SELECT set_config(s.name, s.value, false) FROM unnest($1::text[], $2::text[]) AS s(name, value)"
)


class PoolerError(OperatorError):
    """The URL leads to a pooler that gives connections no session of their own."""

    def __init__(self) -> None:
        super().__init__(
            "the database is reached through a pooler that gives connections no session of their own (PgBouncer with "
            "pool_mode transaction or statement): set pool_mode to session for this database, or have "
            "DRAFTLINE_DATABASE_URL lead to PostgreSQL itself"
        )


async def is_pooled(url: str, timeout_s: float) -> bool:
    """Return whether a pooler is in between; raise PoolerError unless it gives a session to each connection.

    When a connection starts, PostgreSQL reports its backend's process id; a pooler, which has no backend yet, reports a
    random number. A connection that receives a notification while it is idle has a session. A failed attempt to
    connect raises OutOfReachError; the driver's errors of statements are raised as they are.
    """
    connection = await _connected(url, timeout_s)
    try:
        try:
            process = await _process(connection, timeout_s)
        except asyncpg.QueryCanceledError as error:
            fix = "raise the statement_timeout of the role and the database"
            raise OutOfReachError("the database cancels queries at once (SQLSTATE 57014)", fix) from error
        except asyncpg.InterfaceError as error:
            fix = "raise transaction_timeout and idle_in_transaction_session_timeout of the role and the database"
            raise OutOfReachError("the database ended the connection during a query", fix) from error
        except asyncpg.PostgresError as error:
            if await _answers(url, timeout_s):  # it answers but rejects transactions: pool_mode statement
                raise PoolerError from error
            raise
        if process == connection.get_server_pid():
            return False
        if not await _receives(connection, process, url, timeout_s):
            raise PoolerError
        return True
    finally:
        connection.terminate()


async def _connected(url: str, timeout_s: float) -> Any:
    settings = {"application_name": "draftline start"}
    return await connect(url, timeout_s, server_settings=settings, statement_cache_size=0)


async def _process(connection: Any, timeout_s: float) -> int:
    """Return the process id of the PostgreSQL backend at the other end."""
    async with connection.transaction():  # otherwise a statement may be prepared and executed on different backends
        return int(await connection.fetchval("/* own_process */ SELECT pg_backend_pid()", timeout=timeout_s))


async def _answers(url: str, timeout_s: float) -> bool:
    connection = await _connected(url, timeout_s)
    try:
        await connection.execute("SELECT 1", timeout=timeout_s)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        return False
    finally:
        connection.terminate()
    return True


async def _receives(connection: Any, process: int, url: str, timeout_s: float) -> bool:
    """Return whether a listening connection, which had this backend process before, receives a notification."""
    channel, received = f"draftline_{uuid.uuid4().hex}", asyncio.Event()
    try:
        await connection.add_listener(channel, lambda *_: received.set())
        other = await _connected(url, timeout_s)
        try:
            if await _process(other, timeout_s) == process:  # while the first connection is open
                return False
            await other.execute(f"NOTIFY {channel}", timeout=timeout_s)
            async with asyncio.timeout(ANSWER_S):
                await received.wait()
        finally:
            other.terminate()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError):
        return False
    return True


async def set_settings(connection: Any, settings: dict[str, str]) -> None:
    """Apply the settings that a pooler does not pass on when it connects."""
    await connection.fetch(SET, list(settings), list(settings.values()))
