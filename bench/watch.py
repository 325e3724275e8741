"""Measure change watching: the delay until a watcher has a change, and the space of watchers and changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import asyncpg
from draftline import AsyncClient

from .environment import Stand
from .measurements import Figures
from .sizes import Sizes

TENANT = "watched"
COLLECTION = "films"
WRITERS = 8
WRITES = 250  # by each writer
PAUSE_S = 0.01  # between two writes
CLIENTS = 20  # shared by the watchers


def measure(stand: Stand, sizes: Sizes, figures: Figures) -> None:
    asyncio.run(_measure(stand, sizes.watchers, figures))


async def _measure(stand: Stand, watchers: int, figures: Figures) -> None:
    figures.add_times("from a write's answer to its watcher", await _delays_s(stand))
    before = stand.server.memory_mib()
    figures.add(f"server memory of {watchers:,} idle watchers", "MiB", await _memory_mib(stand, watchers) - before)
    figures.add("a change of one field, with its indexes", "bytes", await _bytes_per_change(stand.url))


async def _delays_s(stand: Stand) -> Sequence[float]:
    """Return the delay of each change; 0 if the watcher had it before the writer had its answer."""
    answered: dict[tuple[str, int], float] = {}
    seen: dict[tuple[str, int], float] = {}

    async with (
        AsyncClient(stand.address, tenant_id=TENANT, token=stand.token([TENANT])) as client,
        client.watch(COLLECTION, omit_values=True) as watch,
    ):

        async def follow() -> None:
            while len(seen) < WRITERS * WRITES:
                change = await anext(watch)
                seen[change.record_id, change.version] = time.perf_counter()

        async def write(writer: int) -> None:
            for number in range(WRITES):
                result = await client.patch_content(COLLECTION, str(writer), {"n": number}, allow_missing=True)
                answered[str(writer), result.record.version] = time.perf_counter()
                await asyncio.sleep(PAUSE_S)

        await watch.ready()
        await asyncio.gather(follow(), *(write(writer) for writer in range(WRITERS)))
    return [max(0.0, seen[change] - answered[change]) for change in answered]


async def _memory_mib(stand: Stand, watchers: int) -> float:
    """Return the server's memory with this many watchers, half of them of one tenant, the others of several."""
    tenants = [TENANT, *(f"{TENANT}-{number}" for number in range(CLIENTS // 2))]
    # One connection per client, because the number of watchers on a connection is limited.
    options = [("grpc.use_local_subchannel_pool", 1)]
    clients = [AsyncClient(stand.address, token=stand.token(tenants), options=options) for _ in range(CLIENTS)]
    watches = [
        clients[number % CLIENTS].watch(tenant_id=TENANT if number % 2 else tenants[1 + number // 2 % (CLIENTS // 2)])
        for number in range(watchers)
    ]
    try:
        await asyncio.gather(*(watch.ready() for watch in watches))
        return stand.server.memory_mib()
    finally:
        for watch in watches:
            await watch.close()
        for client in clients:
            await client.close()


async def _bytes_per_change(url: str) -> float:
    """Return the average size of the changes of `_delays_s`, without those that created a record."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE draftline.change_sizes (LIKE draftline.change INCLUDING ALL)")
        count = await connection.execute(
            "INSERT INTO draftline.change_sizes SELECT * FROM draftline.change WHERE tenant_id = $1 AND version > 1",
            TENANT,
        )
        size: int = await connection.fetchval("SELECT pg_total_relation_size('draftline.change_sizes')")
        return size / int(count.split()[-1])
    finally:
        await connection.execute("DROP TABLE IF EXISTS draftline.change_sizes")
        await connection.close()
