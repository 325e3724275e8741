"""Compare several worker processes with one, over as many connections: the gain of another core, if there is one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from .environment import Stand
from .load_generators import Load
from .measurements import Figures
from .patches import CALLS, COLLECTION, EMPTY, GET, PATCH, prepare
from .sizes import Sizes

TENANT = "of workers"
RECORDS = 100_000  # at most
CONNECTIONS = 8  # of each load process: the kernel distributes them at random
COUNTS = (1, 2)


def of(name: str, workers: int) -> str:
    return f"{name}, {workers} worker{'s' if workers > 1 else ''}"


def measure(stand: Stand, sizes: Sizes, figures: Figures) -> None:
    records = min(sizes.records, RECORDS)
    token = stand.token([TENANT])
    asyncio.run(prepare(stand, TENANT, records, token))
    load = Load(
        "", token=token, tenant_id=TENANT, collection=COLLECTION, records=records, concurrency=sizes.top,
        connections=CONNECTIONS, seconds=sizes.seconds, warm_up_s=sizes.warm_up_s,
    )  # fmt: skip
    with stand.another(workers=COUNTS[0]) as one, stand.another(workers=COUNTS[1]) as two:
        for _ in range(sizes.rounds):
            for name, kind in ((EMPTY, "empty"), (PATCH, "patch"), (GET, "get")):
                for count, server in zip(COUNTS, (one, two), strict=True):
                    timing = stand.loads.put_on(replace(load, kind=kind, address=server.address))
                    figures.add(of(name, count), CALLS, timing.rate, latencies_s=timing.latencies_s)
