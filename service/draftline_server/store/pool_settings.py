"""The settings of the connection pool."""

from __future__ import annotations

from dataclasses import dataclass

UNPOOLED = 2  # connections of a process outside its pool: to listen, and to check whether the database answers


def connections_of(pool_size: int) -> int:
    """Return the maximum number of connections of a process with a pool of this size."""
    return pool_size + UNPOOLED


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """The size of the pool, and the timeouts of its connections."""

    size: int = 20
    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 30.0
    statement_timeout_s: float = 25.0
    lock_timeout_s: float = 10.0
    max_attempts: int = 5  # at a transaction that fails because of a concurrent one
    read_only: bool = False
