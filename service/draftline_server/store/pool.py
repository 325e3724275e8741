"""How connections are made, and made ready for the next call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from . import prepared
from .poolers import set_settings

STATEMENTS = 128  # more than there are in sql/: those are prepared on each connection that runs them
GRACE_S = 5.0  # how much later than PostgreSQL we end a statement that has no deadline
# PostgreSQL ends what it does for a service that is gone, and what its transactions hold, before long.
CLIENT_CHECK = {
    "idle_in_transaction_session_timeout": "20s",
    "client_connection_check_interval": "10s",
    "tcp_keepalives_idle": "30s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60s",
}
NAME = "draftline"
BESIDES = 2  # connections of a process that are not in its pool: to listen, and to see whether the database answers


@dataclass(frozen=True, slots=True)
class PoolSettings:
    size: int = 20
    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 30.0
    statement_timeout_s: float = 25.0
    lock_timeout_s: float = 10.0
    retries: int = 5
    read_only: bool = False


def connections_of(pool_size: int) -> int:
    """How many connections a process with such a pool may come to have."""
    return pool_size + BESIDES


async def make_pool(
    url: str,
    settings: PoolSettings,
    init: Callable[[Any], Awaitable[None]],
    connect: Callable[..., Awaitable[Any]] = asyncpg.connect,
    *,
    is_pooled: bool = False,
) -> asyncpg.Pool[asyncpg.Record]:
    """Return a pool whose connections are made as they are needed, by `connect`; `init` is called with each.

    `is_pooled`: they lead to a pooler, which passes no settings on when it connects.
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
        statement_cache_size=STATEMENTS + 2 * prepared.LIMIT,  # of two windows of their choice
        max_cached_statement_lifetime=prepared.LIFETIME_S,
        max_cacheable_statement_size=64 * 1024,  # that of a merged page after a token has 16 KiB and more
        command_timeout=settings.statement_timeout_s + GRACE_S,
        server_settings={"application_name": NAME} if is_pooled else {"application_name": NAME, **session},
    )


def _session(settings: PoolSettings) -> dict[str, str]:
    """How PostgreSQL is to treat our sessions."""
    return {
        "statement_timeout": _ms(settings.statement_timeout_s),
        "lock_timeout": _ms(settings.lock_timeout_s),
        **CLIENT_CHECK,
        "timezone": "UTC",
        "jit": "off",
        # Statements are planned once a connection: planning a merged page takes 2.5 ms, running it 1.
        "plan_cache_mode": "force_generic_plan",
        # And so a plan must not be one for the small table that there was when it was made. What no
        # index serves is read through the primary key then, a tenth slower than it could be.
        "enable_seqscan": "off",
        # A page is read in a millisecond; starting workers for it takes four.
        "max_parallel_workers_per_gather": "0",
        **({"default_transaction_read_only": "on"} if settings.read_only else {}),
    }


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))


def _resetting(session: dict[str, str], *, is_pooled: bool) -> Callable[[Any], Awaitable[None]]:
    async def reset(connection: Any) -> None:
        """Make a connection ready for the next call, which costs a round trip only where something is left over.

        Nothing here sets what outlives a transaction, but a session, and that closes its connection.
        """
        if connection.is_in_transaction():
            await connection.reset()  # to the settings that it began with
            if is_pooled:
                await set_settings(connection, session)

    return reset
