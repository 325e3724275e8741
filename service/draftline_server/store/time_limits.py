"""Time limits that a role or a database sets for its sessions, and that would end connections of the service."""

from __future__ import annotations

from typing import Any

from .connect_errors import connect
from .poolers import set_settings

IDLE = {"idle_session_timeout": "0"}
UNLIMITED = {**IDLE, "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
TRANSACTION_TIMEOUT_SINCE = 17  # PostgreSQL's version


async def connect_unlimited(url: str, timeout_s: float, **options: Any) -> Any:
    """Return a connection without these limits. Raise OutOfReachError if the attempt fails."""
    connection = await connect(url, timeout_s, **options)
    try:
        await without_limits(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def without_limits(connection: Any) -> None:
    """Remove the limits from a connection outside the pool, whose statements may take long."""
    await set_settings(connection, UNLIMITED)
    await without_transaction_limit(connection)


async def without_transaction_limit(connection: Any) -> None:
    """Remove the limit on transactions, which cannot be passed when connecting: older versions do not know it."""
    if connection.get_server_version().major >= TRANSACTION_TIMEOUT_SINCE:
        await set_settings(connection, {"transaction_timeout": "0"})
