"""Novel filters leave nothing behind in PostgreSQL's backends."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from draftline_server.domain.change_query import ChangeQuery
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.merged import MergedQuery
from draftline_server.rpc.mapping.changes import to_change_filter
from draftline_server.store.change_log.changes import ChangeStore
from draftline_server.store.database import Database
from draftline_server.store.page_tokens import PageTokens
from draftline_server.store.pool_settings import PoolSettings
from support.soak_scale import length
from support.tenant_stores import COLLECTION, World

FILTERS = length("NOVEL_FILTERS", 50, soak=5_000)  # of lists, and as many of changes
TERMS = 20
MOST_PREPARED = 40  # the statements of changes are of 20 shapes, so they are prepared
GROWTH_MB = 20  # of a backend; 512 prepared statements of this kind take 800 with 100 terms each


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection, so that one backend takes all."""
    opened = Database(database_url, PoolSettings(size=1))
    await opened.open()
    yield opened
    await opened.close()


async def test_novel_filters_leave_no_prepared_statements_behind(
    database: Database, tenant_id: str, report: Callable[[str], None]
) -> None:
    world, changes = World(database, tenant_id), ChangeStore(database, PageTokens(b"secret"))
    actor = world.actor("ada")

    async def ask(n: int) -> None:
        text = " OR ".join(f"f{n}_{term} = {term}" for term in range(TERMS))
        await world.merged.page(actor, MergedQuery(COLLECTION, parse_filter(text), text), 10, "")
        text = " OR ".join(f'user_id = "{n}" AND version > {term}' for term in range(1 + n % 20))
        await changes.page(actor, ChangeQuery(filter=to_change_filter(text), filter_text=text), 10, "")

    await ask(0)
    async with database.connections.acquire() as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
    before = _private_mb(backend)
    for n in range(1, FILTERS):
        await ask(n)
    async with database.dedicated_connection() as session:
        prepared = await session._connection.fetchval("SELECT count(*) FROM pg_prepared_statements")
    assert prepared <= MOST_PREPARED
    grown = _private_mb(backend) - before
    report(f"{2 * (FILTERS - 1):,} novel filters: {prepared} prepared statements, backend grown by {grown:.1f} MiB")
    assert grown < GROWTH_MB


def _private_mb(pid: int) -> float:
    """Return the private memory of a backend; 0 if it runs on another machine."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^Private_Dirty: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
