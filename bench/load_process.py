"""Load process: read an order per line of standard input, as JSON, and write an answer to each on standard output.

Requests are prepared as bytes and answers are not decoded, so that the load's own work affects the results little.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import uvloop
from draftline import Client
from draftline.v1 import draft_pb2, draft_pb2_grpc, types_pb2
from grpc_health.v1 import health_pb2

from . import requests
from .baseline import baseline_patches
from .imports import copied
from .load_generators import Load, metadata_of, prepared
from .records import records
from .streamed_patches import streamed_patches

LATENCIES_KEPT = 20_000
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
MAX_MESSAGE_BYTES = 64 << 20

Call = Callable[[], Awaitable[Any]]

# By kind: the method, and an endless iterator of requests.
CALLS: dict[str, tuple[str, Callable[[Load], Iterator[bytes]]]] = {
    # The cost of a call that does nothing in this server: no authentication, no admission, no statement.
    "empty": (
        "/grpc.health.v1.Health/Check",
        lambda _: itertools.repeat(health_pb2.HealthCheckRequest().SerializeToString()),
    ),
    "patch": ("/draftline.v1.ContentService/PatchContent", requests.patches),
    "patch of one record": ("/draftline.v1.ContentService/PatchContent", requests.patches_of_one_record),
    "patch of a declared field": (
        "/draftline.v1.ContentService/PatchContent",
        requests.patches_of_a_declared_field,
    ),
    "batch": ("/draftline.v1.ContentService/BatchPatchContent", requests.batches),
    "get": ("/draftline.v1.ContentService/GetContent", requests.gets),
}


@asynccontextmanager
async def _calls(load: Load) -> AsyncIterator[Call]:
    """Yield a function that makes the next call."""
    if load.kind == "baseline patch":
        async with baseline_patches(load) as call:
            yield call
        return
    if load.kind == "stream of patches":
        async with streamed_patches(load) as call:
            yield call
        return
    method, made = CALLS[load.kind]
    upcoming = prepared(made(load), load.prepared)
    metadata = metadata_of(load)
    async with AsyncExitStack() as opened:
        rpcs: list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = []
        for _ in range(load.connections):
            channel = await opened.enter_async_context(grpc.aio.insecure_channel(load.address, OWN_CONNECTION))
            rpcs.append(channel.unary_unary(method))
        cycle = itertools.cycle(rpcs)
        yield lambda: next(cycle)(next(upcoming), metadata=metadata)


async def run(load: Load) -> dict[str, object]:
    """Report readiness, receive the start time, and measure. Calls that end before the start are warm-up.

    Return the number of calls, a sample of their latencies, and the processor time.
    """
    latencies_s: list[float] = []
    cpu_s = [0.0, 0.0]
    async with _calls(load) as call:
        answer({})
        start: float = json.loads(sys.stdin.readline())["start_at"]  # by the clock of all processes of the machine
        end = start + load.seconds

        async def caller(clock: Callable[[], float] = time.perf_counter) -> None:
            while (began := clock()) < end:
                await call()
                if start <= (ended := clock()) < end:
                    latencies_s.append(ended - began)

        def note_cpu(index: int) -> None:
            cpu_s[index] = time.process_time()

        loop = asyncio.get_running_loop()
        for index, at in enumerate((start, end)):
            loop.call_later(max(0.0, at - time.perf_counter()), note_cpu, index)
        await asyncio.gather(*(caller() for _ in range(load.concurrency)))
        if not cpu_s[1]:
            note_cpu(1)
    latencies_s.sort()
    step = max(1, len(latencies_s) // LATENCIES_KEPT)
    return {"calls": len(latencies_s), "latencies_s": latencies_s[::step], "cpu_s": cpu_s[1] - cpu_s[0]}


def import_records(load: Load) -> dict[str, object]:
    """Import through the client, as a caller would, and return the records per second."""
    made = list(records(load.records))
    with Client(load.address, tenant_id=load.tenant_id, token=load.token, timeout=None) as client:
        began = time.perf_counter()
        client.import_content(load.collection, made)
        return {"rate": load.records / (time.perf_counter() - began)}


def copy_records(load: Load) -> dict[str, object]:
    """COPY the same records into the same table, and return the records per second."""
    return {"rate": asyncio.run(copied(load.url, load.tenant_id, load.collection, list(records(load.records))))}


def stream_records(load: Load) -> dict[str, object]:
    """Read a whole list by StreamMerged, and return the number of records and the time."""
    request = draft_pb2.StreamMergedRequest(
        tenant_id=load.tenant_id, collection=load.collection, response_encoding=types_pb2.ENCODING_JSON
    )
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    with grpc.insecure_channel(load.address, options=options) as channel:
        began = time.perf_counter()
        stub = draft_pb2_grpc.DraftServiceStub(channel)
        answers = stub.StreamMerged(request, metadata=(("authorization", f"Bearer {load.token}"),))
        count = sum(len(answer.records) for answer in answers)
        return {"count": count, "seconds": time.perf_counter() - began}


OPERATIONS = {"import": import_records, "copy": copy_records, "stream": stream_records}


def answer(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    gc.freeze()
    while line := sys.stdin.readline():
        load = Load(**json.loads(line))
        outcome = OPERATIONS[load.kind](load) if load.kind in OPERATIONS else uvloop.run(run(load))
        answer(outcome)
        gc.collect()


if __name__ == "__main__":
    main()
