"""A service that is killed again and again while it sorts and adds the entries of many records, among patches."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import suppress

import asyncpg
import pytest
from draftline import AsyncClient
from draftline.errors import DraftlineError
from support.entry_checks import entry_count, order_states, wrong_entries
from support.killed_builds import COLLECTION, FIELDS, TENANT, fill, is_ready, record_id
from support.polling import eventually
from support.server_process import served
from support.soak_scale import IS_SOAK
from support.tenant_stores import connected

RECORDS, KILLS = 60_000, 6


@pytest.mark.skipif(not IS_SOAK, reason="the short form is tests/acceptance/test_builds_killed.py")
async def test_sorted_build_is_exact_after_kills_among_patches(database_url: str) -> None:
    rng = random.Random(7)
    connection = await asyncpg.connect(database_url)
    await fill(connection, RECORDS)
    for number in range(KILLS + 1):
        with served(database_url=database_url) as service:
            async with AsyncClient(service.address, tenant_id=TENANT) as client:
                work = [asyncio.create_task(_patch(client, rng))]
                if number == 0:
                    work.append(asyncio.create_task(client.put_collection(COLLECTION, fields=FIELDS)))
                if number < KILLS:
                    await asyncio.sleep(rng.uniform(0.5, 3))
                    service.stop(signal.SIGKILL)
                else:
                    await eventually(lambda: is_ready(connection), 300)
                for task in work:
                    task.cancel()
                await asyncio.wait(work)
    async with connected(database_url) as database:
        assert set(await order_states(database, TENANT)) == {"READY"}
        assert await wrong_entries(database, TENANT) == []
        assert await entry_count(database, TENANT) == RECORDS * len(FIELDS)
    await connection.close()


async def _patch(client: AsyncClient, rng: random.Random) -> None:
    """Patch declared fields of random records until it is cancelled."""
    while True:
        number = rng.randrange(1, RECORDS)
        with suppress(DraftlineError):
            await client.patch_content(COLLECTION, record_id(number), {"n": rng.randrange(99)})
