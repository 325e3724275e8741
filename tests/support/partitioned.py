"""Databases with partitioned tables."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import asyncpg
import pytest
from draftline_server.partitions.conversion import partition_tables
from draftline_server.settings import Settings

IS_PARTITIONED = Settings().database.use_partitioned_tables
"""Every database of the tests has partitioned tables."""


def plain_only(reason: str) -> pytest.MarkDecorator:
    """Skip tests on partitioned tables."""
    return pytest.mark.skipif(IS_PARTITIONED, reason=reason)


def partition_tables_at(url: str, tenants: Iterable[str] = ()) -> None:
    """Partition the tables of a database that nothing uses."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await partition_tables(connection, tenants)
        finally:
            await connection.close()

    asyncio.run(run())
