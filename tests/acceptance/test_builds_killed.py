"""A service that is killed while it builds the entries of orders: another one completes them, and they are exact."""

from __future__ import annotations

import asyncio
import signal

import asyncpg
from draftline import AsyncClient
from support.entry_checks import entry_count, order_states, wrong_entries
from support.killed_builds import COLLECTION, FIELDS, TENANT, fill, is_ready, record_id
from support.polling import eventually
from support.server_process import served
from support.tenant_stores import connected

RECORDS, LOCKED = 300, 250
LOCK = "SELECT FROM draftline.record WHERE tenant_id = $1 AND record_id = $2 FOR UPDATE"


async def test_build_that_was_killed_is_completed_by_another_service(database_url: str) -> None:
    """The build waits for a locked record in the middle when its service is killed."""
    connection = await asyncpg.connect(database_url)
    await fill(connection, RECORDS)
    holding = connection.transaction()
    await holding.start()
    await connection.execute(LOCK, TENANT, record_id(LOCKED))
    async with connected(database_url) as database:
        with served(database_url=database_url) as service:
            async with AsyncClient(service.address, tenant_id=TENANT) as client:
                declaring = asyncio.create_task(client.put_collection(COLLECTION, fields=FIELDS))
                await eventually(lambda: entry_count(database, TENANT))
                service.stop(signal.SIGKILL)
                declaring.cancel()
        assert set(await order_states(database, TENANT)) == {"BUILDING"}
        assert 0 < await entry_count(database, TENANT) < RECORDS * len(FIELDS)
        with served(database_url=database_url) as service:
            async with AsyncClient(service.address, tenant_id=TENANT) as client:
                for number in (1, RECORDS):  # one with entries and one without
                    await client.patch_content(COLLECTION, record_id(number), {"n": -number})
                await client.delete_content(COLLECTION, record_id(2))
                await holding.rollback()
                await eventually(lambda: is_ready(connection))
        assert await wrong_entries(database, TENANT) == []
        assert await entry_count(database, TENANT) == (RECORDS - 1) * len(FIELDS)
    await connection.close()
