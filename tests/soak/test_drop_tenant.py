"""A large tenant is removed beside calls of another one: nothing of it is left, and the calls hardly notice."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from draftline import Client
from support.partitioned import partition_tables_at
from support.server_process import draftline
from support.servers import beside, cloned, run_sql, serving
from support.soak_scale import IS_SOAK, length

RECORDS = length("DROPPED_RECORDS", 200_000, soak=200_000)
CALLERS, CALLS_PER_S = 4, 100
DROPS = length("DROPPED_TENANTS", 3, soak=3)
WINDOW_S = 6.0
FILL = """
INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by, updated_at,
    updated_by)
SELECT '{tenant_id}', 'films', 'r' || n, jsonb_build_object('n', n, 'title', md5(n::text)), 1, now(), 'u', now(), 'u'
FROM generate_series(1, {records}) AS n;
INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
SELECT r.tenant_id, r.collection, o, convert_to(r.record_id, 'UTF8'), r.record_id
FROM draftline.record AS r, generate_series(1, 2) AS o WHERE r.tenant_id = '{tenant_id}';
"""
TABLES = """
SELECT c.relname FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relnamespace = 'draftline'::regnamespace AND c.relkind IN ('r', 'p')
"""
pytestmark = pytest.mark.skipif(not IS_SOAK, reason="runs in `make soak`")


@contextmanager
def calling(address: str) -> Iterator[list[float]]:
    """Patch records of another tenant during the block. Yield the latencies, in seconds."""
    latencies: list[float] = []
    stop = threading.Event()

    def call() -> None:
        with Client(address, tenant_id="small", user="ada") as client:
            while not stop.is_set():
                start = time.monotonic()
                client.patch_content("films", f"film-{random.randrange(1000)}", {"n": start})
                latencies.append(time.monotonic() - start)
                stop.wait(max(0.0, CALLERS / CALLS_PER_S - latencies[-1]))

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield latencies
    finally:
        stop.set()
        for thread in threads:
            thread.join()


async def tables_with(url: str, tenant_id: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        names = [row[0] for row in await connection.fetch(TABLES)]
        query = 'SELECT EXISTS (SELECT FROM draftline."{}" WHERE tenant_id = $1)'
        return [name for name in names if await connection.fetchval(query.format(name), tenant_id)]
    finally:
        await connection.close()


def p99_ms(latencies: list[float]) -> float:
    return sorted(latencies)[len(latencies) * 99 // 100] * 1000


def removed(url: str, tenant_id: str, log: str) -> dict[str, Any]:
    """Remove a tenant, and return the figures of the command."""
    done = draftline("partitions", "drop-tenant", tenant_id, "--yes", "--json", "--log", log, database_url=url)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_large_tenants_are_removed_beside_calls_of_another(
    postgres_url: str, template: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Each removal is compared with the same command for a tenant of which nothing is stored."""
    log = str(tmp_path / "log")
    tenants = [f"big-{n}" for n in range(DROPS)]
    locked_ms: list[float] = []
    during: dict[str, list[float]] = {"nothing": [], "a tenant": []}
    with cloned(postgres_url, template) as url:
        beside(partition_tables_at, url, tenants)
        run_sql(url, *(FILL.format(tenant_id=each, records=RECORDS) for each in tenants), "VACUUM ANALYZE")
        with serving(url) as server:
            with Client(server.address, tenant_id="small", user="ada") as client:
                client.import_content("films", [(f"film-{n}", {"n": n}) for n in range(1000)])
            with calling(server.address) as latencies:
                time.sleep(1)
                for tenant_id in tenants:
                    for kind, name in (("nothing", "nobody"), ("a tenant", tenant_id)):
                        begun, first = time.monotonic(), len(latencies)
                        figures = removed(url, name, log)
                        time.sleep(max(0.0, WINDOW_S - (time.monotonic() - begun)))
                        during[kind] += latencies[first:]
                    locked_ms.append(figures["locked_ms"])
                    assert figures["rows"] == {"record": RECORDS, "order_entry": 2 * RECORDS}
        assert [asyncio.run(tables_with(url, each)) for each in tenants] == [[]] * DROPS
        assert "record" in asyncio.run(tables_with(url, "small"))
    alone, beside_one = during["nothing"], during["a tenant"]
    report(
        f"{DROPS} tenants of {RECORDS:,} records with two orders removed, the tables locked for "
        f"{', '.join(f'{each:.0f}' for each in locked_ms)} ms; p99 of calls of another tenant {p99_ms(alone):.0f} ms "
        f"while a tenant without rows is removed, {p99_ms(beside_one):.0f} ms while one of these is; the longest "
        f"{max(alone) * 1000:.0f} and {max(beside_one) * 1000:.0f} ms"
    )
