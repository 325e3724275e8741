"""Measure patches and reads of single records, and batches of a hundred patches, against their limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import asyncpg
from draftline import Client

from . import baseline, requests
from .environment import Stand
from .load_generators import Load, Timing
from .measurements import Figures
from .processes import Served
from .records import fill, settle
from .sizes import Sizes
from .statements import statements_per_patch

TENANT, COLLECTION = "bench", "patched"
DECLARED = {"/Major Genre": "text", "/Worldwide Gross": "number", "/Release Date": "date"}
CALLS, ROWS = "calls/s", "rows/s"
BATCHES_AT_ONCE = 4

EMPTY = "empty rpc"
PATCH = "PatchContent"
ONE_RECORD = "PatchContent, one record"
NO_REQUEST_ID = "PatchContent, no request id"
SINGLE = "PatchContent, one statement per call"
REPLACING = "PatchContent, partial updates off"
GET = "GetContent"
BARE = "the statement of PatchContent through asyncpg"
BATCH = f"BatchPatchContent of {requests.BATCH}"
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
    server: Served
    concurrencies: tuple[int, ...]
    request_ids: bool = True


def measure(stand: Stand, sizes: Sizes, figures: Figures) -> None:
    token = stand.token([TENANT])
    asyncio.run(prepare(stand, TENANT, sizes.records, token))
    load = Load(
        "", url=stand.url, token=token, tenant_id=TENANT, collection=COLLECTION, records=sizes.records,
        seconds=sizes.seconds, warm_up_s=sizes.warm_up_s,
    )  # fmt: skip
    figures.add("server memory, idle", "MiB", stand.server.memory_mib())
    with (
        stand.another(max_group_size=1) as single,
        stand.another(enable_partial_updates=False) as replacing,
    ):
        ends, top = (1, sizes.top), (sizes.top,)
        measured = (
            _Measured(EMPTY, "empty", stand.server, sizes.concurrencies),
            _Measured(PATCH, "patch", stand.server, sizes.concurrencies),
            _Measured(NO_REQUEST_ID, "patch", stand.server, top, request_ids=False),
            _Measured(ONE_RECORD, "patch of one record", stand.server, top),
            _Measured(SINGLE, "patch", single, top),
            _Measured(REPLACING, "patch", replacing, ends),
            _Measured(GET, "get", stand.server, ends),
        )
        for _ in range(sizes.rounds):
            for concurrency in sizes.concurrencies:
                for each in measured:
                    if concurrency in each.concurrencies:
                        timing = _add_calls(figures, stand, each, replace(load, concurrency=concurrency))
                        if concurrency == sizes.top:
                            _add_cpu(figures, at(each.name, concurrency), timing)
                if concurrency == 1:
                    timing = stand.loads.put_on(load.of_kind("bare patch"))
                    figures.add(BARE, CALLS, timing.rate, latencies_s=timing.latencies_s)
            _add_batches(figures, stand, load)
    figures.add("server memory, after its patches", "MiB", stand.server.memory_mib())
    for name, settings in ((STATEMENTS, {}), (STATEMENTS_REPLACING, {"enable_partial_updates": False})):
        figures.add(name, "statements", statements_per_patch(stand, load, **settings))


async def prepare(stand: Stand, tenant_id: str, records: int, token: str) -> None:
    """Create a declared collection of this many records."""
    connection = await asyncpg.connect(stand.url, server_settings={"statement_timeout": "0"})
    try:
        await fill(connection, tenant_id, COLLECTION, records)
    finally:
        await connection.close()
    with Client(stand.address, tenant_id=tenant_id, token=token, timeout=None) as client:
        client.put_collection(COLLECTION, fields=DECLARED)
    await settle(stand.url)


def _add_calls(figures: Figures, stand: Stand, each: _Measured, load: Load) -> Timing:
    load = replace(load, kind=each.kind, address=each.server.address, request_ids=each.request_ids)
    timing = stand.loads.put_on(load, lambda: stand.used_s(each.server))
    limit = at(EMPTY, load.concurrency) if each.name != EMPTY else ""
    name = at(each.name, load.concurrency)
    figures.add(name, CALLS, timing.rate, latencies_s=timing.latencies_s, limit=limit)
    return timing


def _add_cpu(figures: Figures, name: str, timing: Timing) -> None:
    for who, used_s in (*timing.used_s.items(), ("load", timing.cpu_s)):
        figures.add(f"{who} CPU, {name}", "us/call", used_s / timing.calls * 1e6)


def _add_batches(figures: Figures, stand: Stand, load: Load) -> None:
    load = replace(load, kind="batch", address=stand.address, concurrency=BATCHES_AT_ONCE)
    timing = stand.loads.put_on(load)
    rows = timing.rate * min(requests.BATCH, load.records)
    figures.add(BATCH, ROWS, rows, latencies_s=timing.latencies_s, limit=PGBENCH)
    rate = baseline.pgbench_rate(stand.home, stand.postgres.conninfo, stand.binaries, load)
    figures.add(PGBENCH, ROWS, rate)
