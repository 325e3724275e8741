"""Compare several worker processes with one, over as many connections: the gain of another core, if there is one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from .environment import Environment
from .load_generators import Load
from .measurements import Measurements
from .patches import CALLS, COLLECTION, EMPTY, GET, PATCH, prepare
from .sizes import Sizes

TENANT = "of workers"
RECORDS = 100_000  # at most
CONNECTIONS = 8  # of each load process: the kernel distributes them at random
COUNTS = (1, 2)


def of(name: str, workers: int) -> str:
    return f"{name}, {workers} worker{'s' if workers > 1 else ''}"


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    records = min(sizes.records, RECORDS)
    token = environment.token([TENANT])
    asyncio.run(prepare(environment, TENANT, records, token))
    load = Load(
        "", token=token, tenant_id=TENANT, collection=COLLECTION, records=records, concurrency=sizes.top,
        connections=CONNECTIONS, seconds=sizes.seconds, warm_up_s=sizes.warm_up_s,
    )  # fmt: skip
    with environment.start_server(workers=COUNTS[0]) as one, environment.start_server(workers=COUNTS[1]) as two:
        for _ in range(sizes.rounds):
            for name, kind in ((EMPTY, "empty"), (PATCH, "patch"), (GET, "get")):
                for count, server in zip(COUNTS, (one, two), strict=True):
                    timing = environment.load_generators.run(replace(load, kind=kind, address=server.address))
                    measurements.add(of(name, count), CALLS, timing.rate, latencies_s=timing.latencies_s)
