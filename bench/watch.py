"""Measure change watching: the delay until a watcher has a change, and the space of watchers and changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import asyncpg
from draftline import AsyncClient

from .environment import Environment
from .measurements import Measurements
from .sizes import Sizes

TENANT = "watched"
COLLECTION = "films"
WRITERS = 8
WRITES = 250  # by each writer
PAUSE_S = 0.01  # between two writes
CLIENTS = 20  # shared by the watchers


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    asyncio.run(_measure(environment, sizes.watchers, measurements))


async def _measure(environment: Environment, watchers: int, measurements: Measurements) -> None:
    measurements.add_times("from a write's answer to its watcher", await _delays_s(environment))
    before = environment.server.memory_mib()
    measurements.add(
        f"server memory of {watchers:,} idle watchers", "MiB", await _memory_mib(environment, watchers) - before
    )
    measurements.add("a change of one field, with its indexes", "bytes", await _bytes_per_change(environment.url))


async def _delays_s(environment: Environment) -> Sequence[float]:
    """Return the delay of each change; 0 if the watcher had it before the writer had its answer."""
    answered: dict[tuple[str, int], float] = {}
    seen: dict[tuple[str, int], float] = {}

    async with (
        AsyncClient(environment.address, tenant_id=TENANT, token=environment.token([TENANT])) as client,
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


async def _memory_mib(environment: Environment, watchers: int) -> float:
    """Return the server's memory with this many watchers, half of them of one tenant, the others of several."""
    tenants = [TENANT, *(f"{TENANT}-{number}" for number in range(CLIENTS // 2))]
    # One connection per client, because the number of watchers on a connection is limited.
    options = [("grpc.use_local_subchannel_pool", 1)]
    clients = [
        AsyncClient(environment.address, token=environment.token(tenants), options=options) for _ in range(CLIENTS)
    ]
    watches = [
        clients[number % CLIENTS].watch(tenant_id=TENANT if number % 2 else tenants[1 + number // 2 % (CLIENTS // 2)])
        for number in range(watchers)
    ]
    try:
        await asyncio.gather(*(watch.ready() for watch in watches))
        return environment.server.memory_mib()
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
