"""Measure syncs with a system of record: the delay and rate of writes to it, and the rate of reads of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import uvloop
from draftline import AsyncClient, Patch, SyncRun

from . import sync_cost
from .environment import Environment
from .load_generators import Load
from .measurements import Measurements
from .polling import POLL_S, until
from .processes import BenchError, Server
from .records import record_id, settle
from .sizes import Sizes
from .system_of_record import SystemOfRecord, system_of_record

TENANT, UPSTREAM, ENDPOINT = "sync", "system", "system"
PUSHED = "pushed"
REMOTE_LATENCY_S = 0.05
BATCH = 1_000  # patches of one call
CALM_S = 0.1  # between two commits, so that each finds an idle worker
UNIT = "records/s"

FIRST_BYTE = "from a commit to its request at the system of record"
CREATED, UPDATED = "created at the system of record", "updated at the system of record"
IMPORTED = "ImportContent of the same records"
LOADED, RECONCILED = "first snapshot, all records new", "snapshot, all records unchanged"
MEMORY = "peak memory of the workers, snapshot of unchanged records"
TRANSACTION = "longest transaction, snapshot of unchanged records"
ROW = "a row of sync_record, with its indexes"

PENDING = "SELECT count(*) FROM draftline.sync_record WHERE tenant_id = $1 AND collection = $2 AND state <> 'IDLE'"
READ = "SELECT snapshot_at FROM draftline.sync_collection WHERE tenant_id = $1 AND collection = $2"
SUSPENDED = "SELECT suspended_message FROM draftline.sync_upstream WHERE tenant_id = $1"
STORED = "SELECT count(*) FROM draftline.record WHERE tenant_id = $1 AND collection = $2"
ROW_BYTES = "SELECT pg_total_relation_size('draftline.sync_record')::float8 / count(*) FROM draftline.sync_record"
TRANSACTION_S = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - a.xact_start)), 0)::float8
FROM pg_stat_activity AS a WHERE a.application_name = 'draftline' AND a.xact_start IS NOT NULL
"""


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    with system_of_record() as (system, address):
        path = environment.home / "upstreams.json"
        endpoint = {"kind": "grpc", "address": address, "tls": None, "networks": ["127.0.0.0/8"], "tenants": ["*"]}
        path.write_text(json.dumps({ENDPOINT: endpoint}))
        with environment.start_sync_workers(upstreams_file=path) as workers:
            bench = _Bench(environment, sizes, measurements, system, workers)
            uvloop.run(bench.measure())
            sync_cost.measure(environment, sizes, measurements, system)


class _Bench:
    def __init__(
        self,
        environment: Environment,
        sizes: Sizes,
        measurements: Measurements,
        system: SystemOfRecord,
        workers: Server,
    ) -> None:
        self._environment = environment
        self._sizes = sizes
        self._measurements = measurements
        self._system = system
        self._workers = workers

    async def measure(self) -> None:
        environment = self._environment
        self._connection = await asyncpg.connect(environment.url, server_settings={"statement_timeout": "0"})
        try:
            token = environment.token([TENANT])
            async with AsyncClient(environment.address, tenant_id=TENANT, token=token, timeout=None) as client:
                await self._pull(client, token)
                await self._push(client)
        finally:
            await self._connection.close()

    async def _pull(self, client: AsyncClient, token: str) -> None:
        """Read a whole system into an empty collection, import as much into another one, and read it again."""
        count = self._sizes.synced
        for turn in range(self._sizes.rounds):
            collection = f"pulled-{turn}"
            load = Load(
                "import", self._environment.address, token=token, tenant_id=TENANT, collection=f"imported-{turn}",
                records=count,
            )  # fmt: skip
            outcome = await asyncio.to_thread(self._environment.load_generators.run_once, load)
            self._measurements.add(IMPORTED, UNIT, outcome["rate"])
            await settle(self._environment.url)

            self._system.records[collection] = count
            started = time.perf_counter()
            await client.put_sync(UPSTREAM, ENDPOINT, [collection])
            await self._snapshot_read(collection, None)
            self._measurements.add(LOADED, UNIT, count / (time.perf_counter() - started), limit=IMPORTED)
            if await self._connection.fetchval(STORED, TENANT, collection) != count:
                raise BenchError("the snapshot was not stored")
            await settle(self._environment.url)
            if not turn:
                self._measurements.add(ROW, "bytes", await self._connection.fetchval(ROW_BYTES))
            await self._reconcile(client, collection)

    async def _reconcile(self, client: AsyncClient, collection: str) -> None:
        before = await self._connection.fetchval(READ, TENANT, collection)
        self._workers.forget_peak()
        async with self._transactions() as longest_s:
            started = time.perf_counter()
            await client.run_sync(UPSTREAM, SyncRun.SNAPSHOT)
            await self._snapshot_read(collection, before)
            rate = self._sizes.synced / (time.perf_counter() - started)
        self._measurements.add(RECONCILED, UNIT, rate)
        self._measurements.add(MEMORY, "MiB", self._workers.peak_memory_mib())
        self._measurements.add(TRANSACTION, "s", max(longest_s, default=0.0))

    async def _snapshot_read(self, collection: str, before: object) -> None:
        """Wait until a snapshot was read to its end."""

        async def is_read() -> bool:
            if (reason := await self._connection.fetchval(SUSPENDED, TENANT)) is not None:
                raise BenchError(f"the sync was suspended: {reason}")
            read_at: object = await self._connection.fetchval(READ, TENANT, collection)
            return read_at != before

        await until(is_read)

    @asynccontextmanager
    async def _transactions(self) -> AsyncIterator[Sequence[float]]:
        """Yield a list of the ages of transactions, which is extended until the end of the block."""
        ages_s: list[float] = []
        connection = await asyncpg.connect(self._environment.url)

        async def watch() -> None:
            while True:
                ages_s.append(await connection.fetchval(TRANSACTION_S))
                await asyncio.sleep(POLL_S)

        task = asyncio.create_task(watch())
        try:
            yield ages_s
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await connection.close()

    async def _push(self, client: AsyncClient) -> None:
        """Create records at the system, update all of them, and follow single commits."""
        count = min(self._sizes.synced, self._sizes.pushed)
        await client.import_content(PUSHED, [(record_id(number), {"n": 0, "rate": 1}) for number in range(count)])
        self._system.latency_s = REMOTE_LATENCY_S
        await client.put_sync(UPSTREAM, ENDPOINT, [PUSHED])
        self._measurements.add(CREATED, UNIT, await self._push_rate(count))
        for turn in range(self._sizes.rounds):
            self._system.arrivals.clear()
            await client.pause_sync(UPSTREAM, push=True)
            for first in range(0, count, BATCH):
                numbers = range(first, min(first + BATCH, count))
                await client.batch_patch_content(PUSHED, [Patch(record_id(each), {"n": turn + 1}) for each in numbers])
            await client.resume_sync(UPSTREAM, push=True)
            self._measurements.add(UPDATED, UNIT, await self._push_rate(count))
        await self._follow_commits(client)

    async def _push_rate(self, count: int) -> float:
        """Wait until all records are acknowledged, and return their rate since the first request."""

        async def is_acknowledged() -> bool:
            if len(self._system.arrivals) < count:
                return False
            pending: int = await self._connection.fetchval(PENDING, TENANT, PUSHED)
            return pending == 0

        await until(is_acknowledged)
        return count / (time.perf_counter() - min(self._system.arrivals.values()))

    async def _has_arrived(self, key: str) -> bool:
        return key in self._system.arrivals

    async def _follow_commits(self, client: AsyncClient) -> None:
        delays_s: list[float] = []
        self._system.latency_s = 0.0
        for number in range(self._sizes.commits):
            key = record_id(number)
            await client.save_draft(PUSHED, key, {"n": -1})
            self._system.arrivals.clear()
            await asyncio.sleep(CALM_S)
            started = time.perf_counter()
            await client.commit(PUSHED, all=True)
            await until(partial(self._has_arrived, key), poll_s=0.001)
            delays_s.append(self._system.arrivals[key] - started)
        self._measurements.add_times(FIRST_BYTE, delays_s)
