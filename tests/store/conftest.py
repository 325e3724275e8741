"""The stores of a test's own tenant, without a service around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from draftline_server.store.database import Database
from draftline_server.store.tables import metadata
from support.races import Held, Races
from support.servers import cloned
from support.tenant_changes import LoggedWorld
from support.tenant_stores import connected

TENANT_TABLES = [table.fullname for table in metadata.sorted_tables if "tenant_id" in table.c]


@pytest.fixture(scope="session")
async def database(server: Any) -> AsyncIterator[Database]:
    """The database that most tests share."""
    async with connected(server.url) as opened:
        yield opened


@pytest.fixture
def world(database: Database, tenant_id: str) -> LoggedWorld:
    return LoggedWorld(database, tenant_id)


@pytest.fixture(scope="session")
def races_url(postgres_url: str, template: str) -> Iterator[str]:
    """A database for the tests of races, which share it: each empties it."""
    with cloned(postgres_url, template) as url:
        yield url


@pytest.fixture
async def races(races_url: str) -> AsyncIterator[Races]:
    held = Held(races_url)
    await held.open()
    connection = await asyncpg.connect(races_url)
    async with connected(races_url) as free:
        yield Races(held, free, connection)
    await held.close()
    await connection.execute("; ".join(f"DELETE FROM {name}" for name in TENANT_TABLES))
    await connection.close()
