"""The stores of a test's own tenant, without a service around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from draftline_server.store.database import Database
from support.races import Held, Races
from support.tenant_changes import LoggedWorld
from support.tenant_stores import connected


@pytest.fixture(scope="session")
async def database(server: Any) -> AsyncIterator[Database]:
    """The database that most tests share."""
    async with connected(server.url) as opened:
        yield opened


@pytest.fixture
def world(database: Database, tenant_id: str) -> LoggedWorld:
    return LoggedWorld(database, tenant_id)


@pytest.fixture
async def races(database_url: str) -> AsyncIterator[Races]:
    held = Held(database_url)
    await held.open()
    connection = await asyncpg.connect(database_url)
    async with connected(database_url) as free:
        yield Races(held, free, connection)
    await connection.close()
    await held.close()
