"""The pool: what it retries, how long it waits, what it lets go, and what it tells PostgreSQL of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest
from draftline_server.concurrency.call_context import call_deadline
from draftline_server.domain.errors import (
    WRITE_IS_UNKNOWN,
    ContentionError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    OverloadedError,
)
from draftline_server.store import connections as connections_module
from draftline_server.store import database as database_module
from draftline_server.store import pool as pool_module
from draftline_server.store.retries import BACKOFF_S, pause_s
from draftline_server.store.statements import Statement
from draftline_server.store.transaction import Transaction
from support.polling import PATIENCE_S, eventually
from support.tcp_proxy import Fate, Way, before_postgres
from support.tenant_stores import connected

ADD = Statement("add", "UPDATE counted SET n = n + 1 WHERE id = $1 RETURNING n", ("id",))
READ = Statement("read", "SELECT n FROM counted WHERE id = $1", ("id",))
END_ME = Statement("end_me", "SELECT pg_terminate_backend(pg_backend_pid())", ())
SLEEP = Statement("sleep", "SELECT pg_sleep($1)", ("seconds",))


@pytest.fixture
async def counted(connection: asyncpg.Connection) -> asyncpg.Connection:
    """A connection of the test's own to its database, which has two rows at 0."""
    await connection.execute("CREATE TABLE counted (id int PRIMARY KEY, n int NOT NULL)")
    await connection.execute("INSERT INTO counted VALUES (1, 0), (2, 0)")
    return connection


async def n_of(connection: asyncpg.Connection, key: int = 1) -> int:
    found: int = await connection.fetchval("SELECT n FROM counted WHERE id = $1", key)
    return found


async def connections(connection: asyncpg.Connection) -> int:
    found: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'draftline'"
    )
    return found


async def test_deadlock_is_retried_and_both_are_done(database_url: str, counted: asyncpg.Connection) -> None:
    attempts = []
    both_hold = asyncio.Barrier(2)

    def crossing(first: int, second: int) -> Callable[[Transaction], Coroutine[Any, Any, None]]:
        async def work(transaction: Transaction) -> None:
            attempts.append(first)
            await transaction.fetch(ADD, {"id": first})
            if attempts.count(first) == 1:
                await both_hold.wait()
            await transaction.fetch(ADD, {"id": second})

        return work

    async with connected(database_url) as database:
        await asyncio.gather(database.transact(crossing(1, 2)), database.transact(crossing(2, 1)))
    assert (await n_of(counted, 1), await n_of(counted, 2)) == (2, 2)
    assert len(attempts) == 3


def test_pauses_are_random_and_double_up_to_a_bound() -> None:
    first_s, most_s = BACKOFF_S
    for attempt in range(1, 12):
        drawn = [pause_s(attempt) for _ in range(200)]
        bound = min(first_s * 2 ** (attempt - 1), most_s)
        assert 0 <= min(drawn) < bound / 2 < max(drawn) <= bound


async def test_connection_lost_before_the_commit_is_no_reason_to_fail(
    database_url: str, counted: asyncpg.Connection
) -> None:
    attempts = []

    async def work(transaction: Transaction) -> None:
        await transaction.fetch(ADD, {"id": 1})
        attempts.append(1)
        if len(attempts) == 1:
            await transaction.fetch(END_ME, {})

    async with connected(database_url) as database:
        await database.transact(work)
    assert len(attempts) == 2
    assert await n_of(counted) == 1


@pytest.mark.parametrize(("fate", "is_done"), [(Fate.CUT, 0), (Fate.CUT_AFTER, 1)])
async def test_connection_lost_at_the_commit_leaves_it_unknown(
    database_url: str, counted: asyncpg.Connection, fate: Fate, is_done: int
) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.fetch(ADD, {"id": 1})

    with before_postgres(database_url) as (proxy, url):
        async with connected(url) as database:
            proxy.judge = lambda way, sent: fate if way is Way.THERE and b"COMMIT" in sent else Fate.PASS
            with pytest.raises(DatabaseUnavailableError, match=WRITE_IS_UNKNOWN):
                await database.transact(work)
            proxy.judge = None

            async def is_settled() -> bool:
                return await n_of(counted) == is_done and await connections(counted) == 0

            await eventually(is_settled)


async def test_idle_connections_are_let_go(database_url: str, counted: asyncpg.Connection) -> None:
    async def are_gone() -> bool:
        return await connections(counted) == 0

    async with connected(database_url, idle_timeout_s=0.05) as database:
        await asyncio.gather(*(database.fetch(SLEEP, {"seconds": 0.01}) for _ in range(5)))
        await eventually(are_gone)
        assert (await database.fetch(READ, {"id": 1}))[0]["n"] == 0


async def test_call_that_finds_every_connection_busy_is_told_so(database_url: str, counted: asyncpg.Connection) -> None:
    async with connected(database_url, size=1, connect_timeout_s=0.1) as database:
        async with database.transaction():
            with pytest.raises(OverloadedError, match="nothing was changed"):
                await database.fetch(READ, {"id": 1})
        assert (await database.fetch(READ, {"id": 1}))[0]["n"] == 0


async def test_wait_for_what_another_holds_has_an_end(database_url: str, counted: asyncpg.Connection) -> None:
    async with connected(database_url, lock_timeout_s=0.1) as database, counted.transaction():
        await counted.execute("UPDATE counted SET n = 7 WHERE id = 1")
        with pytest.raises(ContentionError, match="nothing was changed"):
            await database.fetch(ADD, {"id": 1}, idempotent=True)
    assert await n_of(counted) == 7


async def test_slow_statement_has_an_end(database_url: str) -> None:
    async with connected(database_url, statement_timeout_s=0.1) as database:
        with pytest.raises(DeadlineExceededError, match="nothing was changed"):
            await database.fetch(SLEEP, {"seconds": PATIENCE_S}, idempotent=True)


async def test_statement_ends_with_its_call(database_url: str, counted: asyncpg.Connection) -> None:
    async def is_idle() -> bool:
        query = """SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database()
            AND application_name = 'draftline' AND state <> 'idle'"""
        return bool(await counted.fetchval(query))

    call_deadline.set(time.monotonic() + 0.1)
    async with connected(database_url) as database:
        with pytest.raises(DeadlineExceededError, match=WRITE_IS_UNKNOWN):
            await database.fetch(SLEEP, {"seconds": PATIENCE_S})
        await eventually(is_idle)


async def test_database_that_falls_silent_is_given_up_and_its_connection_too(
    database_url: str, counted: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "GRACE_S", 1.0)
    for module in (connections_module, database_module):
        monkeypatch.setattr(module, "ENDING_S", 0.2)
    with before_postgres(database_url) as (proxy, url):
        async with connected(url, size=1, statement_timeout_s=0.1) as database, asyncio.timeout(PATIENCE_S):
            await database.fetch(READ, {"id": 1})
            proxy.stalled = True
            with pytest.raises(DeadlineExceededError, match=WRITE_IS_UNKNOWN):
                await database.fetch(ADD, {"id": 1}, idempotent=True)
            proxy.stalled = False
            assert (await database.fetch(READ, {"id": 2}))[0]["n"] == 0


async def test_call_that_ends_while_it_commits_gives_its_connection_back(
    database_url: str, counted: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (connections_module, database_module):
        monkeypatch.setattr(module, "ENDING_S", 0.2)

    async def work(transaction: Transaction) -> None:
        await transaction.fetch(ADD, {"id": 1})
        proxy.stalled = True

    with before_postgres(database_url) as (proxy, url):
        async with connected(url, size=1) as database, asyncio.timeout(PATIENCE_S):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await database.transact(work)
            proxy.stalled = False
            assert (await database.fetch(READ, {"id": 2}))[0]["n"] == 0


async def test_connections_tell_postgresql_their_limits(database_url: str) -> None:
    async def setting(runner: Any, name: str) -> str:
        statement = Statement("show", "SELECT current_setting($1)", ("name",))
        return str((await runner.fetch(statement, {"name": name}))[0][0])

    async with connected(database_url, statement_timeout_s=7, lock_timeout_s=3) as database:
        assert await setting(database, "statement_timeout") == "7s"
        assert await setting(database, "lock_timeout") == "3s"
        assert await setting(database, "idle_in_transaction_session_timeout") == "20s"
        assert await setting(database, "client_connection_check_interval") == "10s"
        async with database.dedicated_connection() as session:
            assert await setting(session, "statement_timeout") == "0"
            assert await setting(session, "lock_timeout") == "0"
