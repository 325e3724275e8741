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

import asyncpg
import pytest
from draftline import Client
from support.partitioned import partition_tables_at
from support.server_process import invoked
from support.servers import beside, cloned, run_sql, serving
from support.soak_scale import IS_SOAK, length

RECORDS = length("DROPPED_RECORDS", 200_000, soak=200_000)
CALLERS, CALLS_PER_S = 4, 100
BEFORE_S = 10.0
FILL = f"""
INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by, updated_at,
    updated_by)
SELECT 'big', 'films', 'r' || n, jsonb_build_object('n', n, 'title', md5(n::text)), 1, now(), 'u', now(), 'u'
FROM generate_series(1, {RECORDS}) AS n;
INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
SELECT r.tenant_id, r.collection, o, convert_to(r.record_id, 'UTF8'), r.record_id
FROM draftline.record AS r, generate_series(1, 2) AS o WHERE r.tenant_id = 'big';
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


def test_large_tenant_is_removed_beside_calls_of_another(
    postgres_url: str, template: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    log = str(tmp_path / "log")
    with cloned(postgres_url, template) as url:
        beside(partition_tables_at, url, ["big"])
        run_sql(url, FILL, "VACUUM ANALYZE")
        with serving(url) as server:
            with Client(server.address, tenant_id="small", user="ada") as client:
                client.import_content("films", [(f"film-{n}", {"n": n}) for n in range(1000)])
            with calling(server.address) as latencies:
                time.sleep(BEFORE_S)
                before = len(latencies)
                done = invoked("partitions", "drop-tenant", "big", "--yes", "--json", "--log", log, database_url=url)
                assert done.returncode == 0, done.stderr
                time.sleep(1)
            removed = json.loads(done.stdout)
        assert removed["rows"] == {"record": RECORDS, "order_entry": 2 * RECORDS}
        assert asyncio.run(tables_with(url, "big")) == []
        assert "record" in asyncio.run(tables_with(url, "small"))
    report(
        f"{RECORDS:,} records with two orders removed, the tables locked for {removed['locked_ms']:.0f} ms; p99 of "
        f"calls of another tenant {p99_ms(latencies[:before]):.0f} ms before and {p99_ms(latencies[before:]):.0f} ms "
        "meanwhile"
    )
