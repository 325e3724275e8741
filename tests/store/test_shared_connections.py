"""Connections are shared out among tenants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from draftline_server.concurrency.call_context import call_tenant
from draftline_server.domain.errors import OverloadedError
from draftline_server.store.database import Database
from draftline_server.store.pool_settings import PoolSettings
from draftline_server.store.statements import Statement

ONE = Statement("one", "/* one */ SELECT 1", ())


@pytest.fixture
async def single(server: object) -> AsyncIterator[Database]:
    """A pool of one connection that gives up soon."""
    database = Database(server.url, PoolSettings(size=1, connect_timeout_s=30))  # type: ignore[attr-defined]
    await database.open()
    yield database
    await database.close()


async def test_one_tenants_statements_do_not_keep_anothers_waiting(single: Database) -> None:
    done: list[str] = []

    async def fetch(tenant_id: str) -> None:
        call_tenant.set(tenant_id)
        await single.fetch(ONE, {})
        done.append(tenant_id)

    call_tenant.set("large")
    async with asyncio.TaskGroup() as tasks, single.transaction():
        for tenant_id in [*["large"] * 20, "small"]:
            tasks.create_task(fetch(tenant_id))
        await asyncio.sleep(0)
        assert done == []
    assert done.index("small") == 1
    assert len(done) == 21


async def test_statement_without_a_connection_in_time_is_refused(single: Database) -> None:
    async with single.transaction():
        single.connections._settings = PoolSettings(size=1, connect_timeout_s=0.01)
        with pytest.raises(OverloadedError, match="nothing was changed"):
            await single.fetch(ONE, {})
    assert await single.fetch(ONE, {})
