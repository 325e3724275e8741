"""A load process: ``python -m draftline_server.ops.bench_load LOAD``, told by JSON, answers JSON on standard output.

Requests are bytes and answers stay bytes, so that little of what is measured is the load's own work.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import grpc
import uvloop
from draftline import Client
from draftline.v1 import content_pb2, types_pb2
from grpc_health.v1 import health_pb2

from .bench import record_id, records
from .bench_processes import Load

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
PATCH_CONTENT = "/draftline.v1.ContentService/PatchContent"
LATENCIES_KEPT = 20_000


def requests_of(load: Load) -> tuple[str, Iterator[bytes]]:
    """The method, and requests without end."""
    if load.kind == "empty":
        return HEALTH_CHECK, itertools.repeat(health_pb2.HealthCheckRequest().SerializeToString())
    return PATCH_CONTENT, _patches(load)


def _patches(load: Load) -> Iterator[bytes]:
    chooser = random.Random(f"{load.seed} {load.start_at}")  # noqa: S311 - a load needs no secrets
    request = content_pb2.PatchContentRequest(
        tenant_id=load.tenant_id, collection=load.collection, response_encoding=types_pb2.ENCODING_JSON
    )
    while True:
        request.record_id = record_id(chooser.randrange(load.records))
        request.delta.json = f'{{"IMDB Votes":{chooser.randrange(1 << 40)}}}'
        request.request_id = str(uuid.UUID(int=chooser.getrandbits(128), version=4)) if load.request_ids else ""
        yield request.SerializeToString()


async def put_on(load: Load) -> dict[str, object]:
    """Calls until the time is over; those made before `start_at` warm up and do not count."""
    method, requests = requests_of(load)
    latencies_s: list[float] = []
    async with grpc.aio.insecure_channel(load.address) as channel:
        rpc: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        # A process that was late to start has its whole time all the same.
        start = time.perf_counter() + max(0.0, load.start_at - time.time())
        end = start + load.seconds

        async def caller(clock: Callable[[], float] = time.perf_counter) -> None:
            while (began := clock()) < end:
                await rpc(next(requests))
                if start <= began and (ended := clock()) < end:
                    latencies_s.append(ended - began)

        await asyncio.gather(*(caller() for _ in range(load.concurrency)))
    latencies_s.sort()
    step = max(1, len(latencies_s) // LATENCIES_KEPT)
    return {"calls": len(latencies_s), "latencies_s": latencies_s[::step]}


def load_records(load: Load) -> dict[str, object]:
    """Imports through the client, as a caller would."""
    made = list(records(load.records))
    with Client(load.address, tenant_id=load.tenant_id) as client:
        began = time.perf_counter()
        client.import_content(load.collection, made)
        return {"rate": load.records / (time.perf_counter() - began)}


def main() -> None:
    load = Load(**json.loads(sys.argv[1]))
    outcome = load_records(load) if load.kind == "import" else uvloop.run(put_on(load))
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
