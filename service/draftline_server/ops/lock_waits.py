"""The database sessions that wait for locks, for `draftline top`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import asyncpg

from ..domain.errors import OutOfReachError
from ..store.connect_errors import connect

TIMEOUT_S = 5.0
MOST = 20  # waits that are returned

# Only some kinds of locks name the locked object. A wait for a row is a lock on the transaction that wrote it.
WAITS = """
SELECT w.pid, l.locktype AS kind, coalesce(l.relation::regclass::text, '') AS relation,
    coalesce(extract(epoch FROM clock_timestamp() - w.query_start), 0)::float8 AS waited_s,
    b.pid AS blocker, coalesce(b.application_name, '') AS application, coalesce(b.state, '') AS state,
    coalesce(extract(epoch FROM clock_timestamp() - b.xact_start), 0)::float8 AS open_s
FROM pg_stat_activity AS w
CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocking(pid)
LEFT JOIN pg_stat_activity AS b ON b.pid = blocking.pid
LEFT JOIN pg_locks AS l ON l.pid = w.pid AND NOT l.granted
WHERE w.datname = current_database() AND w.wait_event_type = 'Lock'
ORDER BY waited_s DESC, w.pid, b.pid
LIMIT $1
"""


class LocksError(Exception):
    """The locks could not be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A session that waits for another one; times are in seconds."""

    pid: int
    kind: str  # of the lock: transactionid, tuple, relation, advisory and so on
    relation: str  # empty if the lock does not name one
    waited_s: float
    blocker: int | None  # its pid; None: a prepared transaction
    application: str  # of the blocker
    state: str  # of the blocker: active, idle in transaction
    open_s: float  # the age of the blocker's transaction


def waits(url: str) -> list[Wait]:
    """Return the current lock waits, the longest first. Raise LocksError if the database cannot be queried."""
    try:
        rows = asyncio.run(asyncio.wait_for(_rows(url), TIMEOUT_S))
    except OutOfReachError as error:
        raise LocksError(f"cannot read the locks: {error}; {error.advice}") from error
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise LocksError(f"cannot read the locks of the database: {error or 'timeout'}") from error
    return [Wait(**{**row, "blocker": row["blocker"] or None}) for row in rows]


async def _rows(url: str) -> list[asyncpg.Record]:
    connection = await connect(url, TIMEOUT_S)
    try:
        found: list[asyncpg.Record] = await connection.fetch(WAITS, MOST)
    finally:
        await connection.close(timeout=TIMEOUT_S)
    return found
