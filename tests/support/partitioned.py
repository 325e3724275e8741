"""Databases with partitioned tables."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import asyncpg
from draftline_server.partitions.conversion import partition_tables


def partition_tables_at(url: str, tenants: Iterable[str] = ()) -> None:
    """Partition the tables of a database that nothing uses."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await partition_tables(connection, tenants)
        finally:
            await connection.close()

    asyncio.run(run())
