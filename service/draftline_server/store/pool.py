"""Create the connection pool, and reset its connections between calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from . import prepared
from .pool_settings import PoolSettings
from .poolers import set_settings
from .time_limits import IDLE, without_transaction_limit

STATEMENTS = 128  # more than there are in sql/: those are prepared on each connection that runs them
GRACE_S = 5.0  # how long after PostgreSQL's own timeout we end a statement that has no deadline
# PostgreSQL soon ends the statements and transactions of a service that is gone, and so releases their locks.
CLIENT_CHECK = {
    "idle_in_transaction_session_timeout": "20s",
    "client_connection_check_interval": "10s",
    "tcp_keepalives_idle": "30s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60s",
}
# What the role, the database or `options` may set otherwise, and the statements and the pool depend on.
INDEPENDENT = {
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    **IDLE,
}
NAME = "draftline"


async def make_pool(
    url: str,
    settings: PoolSettings,
    init: Callable[[Any], Awaitable[None]],
    connect: Callable[..., Awaitable[Any]] = asyncpg.connect,
    *,
    is_pooled: bool = False,
) -> asyncpg.Pool[asyncpg.Record]:
    """Return a pool whose connections are made as they are needed, by `connect`; `init` is called with each.

    `is_pooled`: they lead to a pooler, which does not pass on settings when it connects.
    """
    session = _session(settings)

    async def prepare(connection: Any) -> None:
        if is_pooled:
            await set_settings(connection, session)
        await init(connection)

    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=settings.size,
        timeout=settings.connect_timeout_s,
        max_inactive_connection_lifetime=settings.idle_timeout_s,
        connect=connect,
        init=prepare,
        reset=_resetting(session, is_pooled=is_pooled),
        statement_cache_size=STATEMENTS + 2 * prepared.LIMIT,  # those chosen within two windows
        max_cached_statement_lifetime=prepared.LIFETIME_S,
        max_cacheable_statement_size=64 * 1024,  # the statement of a merged page after a token has 16 KiB and more
        command_timeout=settings.statement_timeout_s + GRACE_S,
        server_settings={"application_name": NAME} if is_pooled else {"application_name": NAME, **session},
    )


def _session(settings: PoolSettings) -> dict[str, str]:
    """Return the PostgreSQL settings of our sessions."""
    return {
        "statement_timeout": _ms(settings.statement_timeout_s),
        "lock_timeout": _ms(settings.lock_timeout_s),
        **CLIENT_CHECK,
        **INDEPENDENT,
        "timezone": "UTC",
        "jit": "off",
        # Statements are planned once per connection: planning a merged page takes 2.5 ms, running it 1 ms.
        # Lists keep their plans without this setting and the next one. Those that name rows, and those of syncs, do
        # not while the planner does not know the tables: see test_unknown_sizes.py and test_sync_plans.py.
        "plan_cache_mode": "force_generic_plan",
        # A generic plan must not suit only the small table that existed when it was made. Queries that
        # no index serves then scan the primary key, which is a tenth slower than a sequential scan.
        "enable_seqscan": "off",
        # A page is read in a millisecond; starting workers for it takes four.
        "max_parallel_workers_per_gather": "0",
        **({"default_transaction_read_only": "on"} if settings.read_only else {}),
    }


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))


def _resetting(session: dict[str, str], *, is_pooled: bool) -> Callable[[Any], Awaitable[None]]:
    async def reset(connection: Any) -> None:
        """Make a connection ready for the next call; this costs a round trip only if a transaction is still open.

        Only sessions change state that outlives a transaction, and a session closes its connection.
        """
        if connection.is_in_transaction():
            await connection.reset()  # to the settings that it started with
            if is_pooled:
                await set_settings(connection, session)
            await without_transaction_limit(connection)

    return reset
