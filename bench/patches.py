"""Measure patches and reads of single records, and batches of a hundred patches, against their limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import asyncpg
from draftline import Client

from . import baseline, requests
from .environment import Environment
from .load_generators import Load, Timing
from .measurements import Measurements
from .processes import Server
from .records import fill, settle
from .sizes import Sizes
from .statements import statements_per_patch

TENANT, COLLECTION = "bench", "patched"
DECLARED = {"/Major Genre": "text", "/Worldwide Gross": "number", "/Release Date": "date"}
CALLS, ROWS = "calls/s", "rows/s"
BATCHES_AT_ONCE = 4
MESSAGES_AT_ONCE = 10  # of a stream

EMPTY = "empty rpc"
PATCH = "PatchContent"
ONE_RECORD = "PatchContent, one record"
DECLARED_FIELD = "PatchContent, a declared field"
NO_REQUEST_ID = "PatchContent, no request id"
SINGLE = "PatchContent, one statement per call"
REPLACING = "PatchContent, partial updates off"
GET = "GetContent"
BARE = "the statement of PatchContent through asyncpg"
GROUPED = 64
GROUP = f"the statement of {GROUPED} PatchContent through asyncpg"
GROUP_CPU = f"PostgreSQL CPU, {GROUP}"
BATCH = f"BatchPatchContent of {requests.BATCH}"
STREAM = "StreamPatches, one stream"
PGBENCH = f"pgbench, one row a transaction, {baseline.PGBENCH_CLIENTS} clients"
STATEMENTS = "statements a patch, partial updates on"
STATEMENTS_REPLACING = "statements a patch, partial updates off"


def at(name: str, concurrency: int) -> str:
    """Return the name of the figure with this many calls in flight."""
    return f"{name}, {concurrency} in flight"


@dataclass(frozen=True, slots=True)
class _Measured:
    """A figure, and the load under which it is measured."""

    name: str
    kind: str
    server: Server
    concurrencies: tuple[int, ...]
    request_ids: bool = True


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    token = environment.token([TENANT])
    asyncio.run(prepare(environment, TENANT, sizes.records, token))
    load = Load(
        "", url=environment.url, token=token, tenant_id=TENANT, collection=COLLECTION, records=sizes.records,
        seconds=sizes.seconds, warm_up_s=sizes.warm_up_s,
    )  # fmt: skip
    measurements.add("server memory, idle", "MiB", environment.server.memory_mib())
    with (
        environment.start_server(batch_size=1) as single,
        environment.start_server(enable_partial_updates=False) as replacing,
    ):
        ends, top = (1, sizes.top), (sizes.top,)
        measured_loads = (
            _Measured(EMPTY, "empty", environment.server, sizes.concurrencies),
            _Measured(PATCH, "patch", environment.server, sizes.concurrencies),
            _Measured(NO_REQUEST_ID, "patch", environment.server, top, request_ids=False),
            _Measured(ONE_RECORD, "patch of one record", environment.server, top),
            _Measured(DECLARED_FIELD, "patch of a declared field", environment.server, top),
            _Measured(SINGLE, "patch", single, top),
            _Measured(REPLACING, "patch", replacing, ends),
            _Measured(GET, "get", environment.server, ends),
        )
        for _ in range(sizes.rounds):
            for concurrency in sizes.concurrencies:
                for measured in measured_loads:
                    if concurrency in measured.concurrencies:
                        timing = _add_calls(measurements, environment, measured, replace(load, concurrency=concurrency))
                        if concurrency == sizes.top:
                            _add_cpu(measurements, at(measured.name, concurrency), timing)
                if concurrency == 1:
                    timing = environment.load_generators.run(load.of_kind("baseline patch"))
                    measurements.add(BARE, CALLS, timing.rate, latencies_s=timing.latencies_s)
            _add_groups(measurements, environment, load)
            _add_batches(measurements, environment, load)
            _add_stream(measurements, environment, load)
    measurements.add("server memory, after its patches", "MiB", environment.server.memory_mib())
    for name, settings in ((STATEMENTS, {}), (STATEMENTS_REPLACING, {"enable_partial_updates": False})):
        measurements.add(name, "statements", statements_per_patch(environment, load, **settings))


async def prepare(environment: Environment, tenant_id: str, records: int, token: str) -> None:
    """Create a declared collection of this many records."""
    connection = await asyncpg.connect(environment.url, server_settings={"statement_timeout": "0"})
    try:
        await fill(connection, tenant_id, COLLECTION, records)
    finally:
        await connection.close()
    with Client(environment.address, tenant_id=tenant_id, token=token, timeout=None) as client:
        client.put_collection(COLLECTION, fields=DECLARED)
        client.wait_until_built(COLLECTION)
    await settle(environment.url)


def _add_calls(measurements: Measurements, environment: Environment, measured: _Measured, load: Load) -> Timing:
    load = replace(load, kind=measured.kind, address=measured.server.address, request_ids=measured.request_ids)
    timing = environment.load_generators.run(load, lambda: environment.cpu_used_s(measured.server))
    limit = at(EMPTY, load.concurrency) if measured.name != EMPTY else ""
    name = at(measured.name, load.concurrency)
    measurements.add(name, CALLS, timing.rate, latencies_s=timing.latencies_s, limit=limit)
    return timing


def _add_cpu(measurements: Measurements, name: str, timing: Timing) -> None:
    for process, cpu_used_s in (*timing.cpu_used_s.items(), ("load", timing.cpu_s)):
        measurements.add(f"{process} CPU, {name}", "us/call", cpu_used_s / timing.calls * 1e6)


def _add_groups(measurements: Measurements, environment: Environment, load: Load) -> None:
    load = replace(load, kind="baseline patch", grouped=GROUPED)
    timing = environment.load_generators.run(load, lambda: environment.cpu_used_s(environment.server))
    patches = timing.calls * min(GROUPED, load.records)
    measurements.add(GROUP, ROWS, patches / timing.seconds)
    measurements.add(GROUP_CPU, "us/patch", timing.cpu_used_s["PostgreSQL"] / patches * 1e6)


def _add_batches(measurements: Measurements, environment: Environment, load: Load) -> None:
    load = replace(load, kind="batch", address=environment.address, concurrency=BATCHES_AT_ONCE)
    timing = environment.load_generators.run(load)
    rows = timing.rate * min(requests.BATCH, load.records)
    measurements.add(BATCH, ROWS, rows, latencies_s=timing.latencies_s, limit=PGBENCH)
    rate = baseline.pgbench_rate(environment.home, environment.postgres.conninfo, environment.binaries, load)
    measurements.add(PGBENCH, ROWS, rate)


def _add_stream(measurements: Measurements, environment: Environment, load: Load) -> None:
    load = replace(load, kind="stream of patches", address=environment.address, concurrency=MESSAGES_AT_ONCE)
    timing = environment.load_generators.run(load, lambda: environment.cpu_used_s(environment.server), processes=1)
    measurements.add(STREAM, ROWS, timing.rate * requests.STREAMED)
    for process, cpu_used_s in (*timing.cpu_used_s.items(), ("load", timing.cpu_s)):
        patches = timing.calls * requests.STREAMED
        measurements.add(f"{process} CPU, {STREAM}", "us/patch", cpu_used_s / patches * 1e6)
