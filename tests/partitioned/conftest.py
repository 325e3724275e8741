"""The databases and servers of this folder have partitioned tables, whatever the settings say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from draftline_server.store.database import Database
from support import sql as one_statement
from support.partitioned import partition_tables_at
from support.servers import RunningServer, beside, cloned, on_database, run_sql, serving
from support.tenant_stores import connected

from ..rpc.conftest import ada, bob, patched, patching_stub, records, sql
from ..store.conftest import races, races_url, world

__all__ = ["ada", "bob", "patched", "patching_stub", "races", "races_url", "records", "sql", "world"]


@pytest.fixture(scope="session")
def template(postgres_url: str, template: str) -> Iterator[str]:
    """The name of a migrated, empty database with partitioned tables."""
    name = f"{template}_partitioned"
    one_statement.fetch(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    beside(partition_tables_at, on_database(postgres_url, name))
    yield name
    run_sql(postgres_url, f"DROP DATABASE {name}")


@pytest.fixture(scope="session")
def server(postgres_url: str, template: str) -> Iterator[RunningServer]:
    with cloned(postgres_url, template) as url, serving(url) as running:
        yield running


@pytest.fixture(scope="session")
async def database(server: Any) -> AsyncIterator[Database]:
    async with connected(server.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def patching_server(server: RunningServer) -> RunningServer:
    return server


@pytest.fixture(scope="session")
def server_address(server: RunningServer) -> str:
    return server.address


@pytest.fixture(scope="module")
def grpc_addr(server: RunningServer) -> str:
    return server.address
