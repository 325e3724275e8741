"""Measures the change log from its other end: how soon a watcher has a change, and what watchers and changes take."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

import asyncpg
from draftline import AsyncClient
from rich.table import Table

from .bench_processes import Served

TENANT = "watched"
COLLECTION = "films"
WRITERS = 8
WRITES = 250  # of each
PAUSE_S = 0.01  # between two of them
CLIENTS = 20  # connections that the watchers share


def run(url: str, served: Served, watchers: int) -> Table:
    """The figures, as a table."""
    return asyncio.run(_run(url, served, watchers))


async def _run(url: str, served: Served, watchers: int) -> Table:
    table = Table("figure", title="Watching", title_justify="left")
    table.add_column("value", justify="right")
    delays = sorted(await _delays_s(served.address))
    for percent in (50, 99):
        delay_s = delays[max(0, math.ceil(len(delays) * percent / 100) - 1)]
        table.add_row(f"from a write's answer to its watcher, p{percent}", f"{delay_s * 1000:.2f} ms")
    before = served.memory_mib()
    table.add_row(f"memory of {watchers:,} idle watchers", f"{await _memory_mib(served, watchers) - before:,.1f} MiB")
    table.add_row("a change of one field, with its indexes", f"{await _bytes_per_change(url):,.0f} bytes")
    return table


async def _delays_s(address: str) -> Sequence[float]:
    """Of each change. 0 where the watcher had it before the writer had its answer."""
    answered: dict[tuple[str, int], float] = {}
    seen: dict[tuple[str, int], float] = {}

    async with AsyncClient(address, tenant_id=TENANT) as client, client.watch(COLLECTION, omit_values=True) as watch:

        async def follow() -> None:
            while len(seen) < WRITERS * WRITES:
                change = await anext(watch)
                seen[change.record_id, change.version] = time.perf_counter()

        async def write(writer: int) -> None:
            for number in range(WRITES):
                result = await client.patch_content(COLLECTION, str(writer), {"n": number}, allow_missing=True)
                answered[str(writer), result.record.version] = time.perf_counter()
                await asyncio.sleep(PAUSE_S)

        await asyncio.gather(follow(), *(write(writer) for writer in range(WRITERS)))
    return [max(0.0, seen[change] - answered[change]) for change in answered]


async def _memory_mib(served: Served, watchers: int) -> float:
    """Of the server, with that many watchers: one half of one tenant, the others each of another."""
    clients = [AsyncClient(served.address) for _ in range(CLIENTS)]
    watches = [
        clients[number % CLIENTS].watch(tenant_id=TENANT if number % 2 else f"{TENANT}-{number}")
        for number in range(watchers)
    ]
    try:
        await asyncio.gather(*(watch.ready() for watch in watches))
        return served.memory_mib()
    finally:
        for watch in watches:
            await watch.close()
        for client in clients:
            await client.close()


async def _bytes_per_change(url: str) -> float:
    """What the changes of `_delays_s` take, those that created their records left aside."""
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
