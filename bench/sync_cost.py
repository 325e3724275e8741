"""Measure what syncs cost other calls: writes of collections that are not bound, and pages of bound ones."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import grpc
import uvloop
from draftline import AsyncClient
from draftline.v1 import content_pb2, draft_pb2, types_pb2

from .environment import Environment
from .load_generators import Load
from .measurements import Measurements
from .polling import until
from .records import fill, record_id, settle
from .sizes import Sizes
from .statements import statements_per_patch
from .system_of_record import SystemOfRecord

WITHOUT, BESIDE = "without-sync", "beside-sync"  # tenants
PLAIN, BOUND = "plain", "bound"  # collections
RECORDS = 1_000
PAGE = 100
WARM_UP, SAMPLES = 1, 4

PATCH_WITHOUT = "PatchContent, a tenant without syncs"
PATCH_BESIDE = "PatchContent of a collection that is not bound, beside a sync"
PAGE_PLAIN = "GetMerged, 100 records, not bound"
PAGE_BOUND = "GetMerged, 100 records, bound"
STATEMENTS_WITHOUT = "statements a patch, a tenant without syncs"
STATEMENTS_BESIDE = "statements a patch of a collection that is not bound, beside a sync"

Call = Callable[[], Awaitable[Any]]


def measure(environment: Environment, sizes: Sizes, measurements: Measurements, system: SystemOfRecord) -> None:
    """Measure with running workers. `system`: the endpoint of the sync."""
    system.records[BOUND] = RECORDS
    uvloop.run(_prepare(environment))
    uvloop.run(_measure(environment, sizes, measurements))
    for name, tenant_id in ((STATEMENTS_WITHOUT, WITHOUT), (STATEMENTS_BESIDE, BESIDE)):
        token = environment.token([tenant_id])
        load = Load("patch", token=token, tenant_id=tenant_id, collection=PLAIN, records=RECORDS)
        measurements.add(name, "statements", statements_per_patch(environment, load))


async def _prepare(environment: Environment) -> None:
    connection = await asyncpg.connect(environment.url)
    try:
        for tenant_id in (WITHOUT, BESIDE):
            await fill(connection, tenant_id, PLAIN, RECORDS)
        async with AsyncClient(environment.address, tenant_id=BESIDE, token=environment.token([BESIDE])) as client:
            await client.put_sync("system", "system", [BOUND])
            await until(lambda: _is_read(client))
    finally:
        await connection.close()
    await settle(environment.url)


async def _is_read(client: AsyncClient) -> bool:
    return (await client.get_sync_status("system")).collections[0].snapshot_time is not None


async def _measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    async with grpc.aio.insecure_channel(environment.address) as channel:
        pages = {
            PAGE_PLAIN: _page(environment, channel, PLAIN),
            PAGE_BOUND: _page(environment, channel, BOUND),
        }
        patches = {
            PATCH_WITHOUT: _patch(environment, channel, WITHOUT),
            PATCH_BESIDE: _patch(environment, channel, BESIDE),
        }
        for calls in (pages, patches):
            await _add(calls, sizes.page_rounds, measurements)


async def _add(calls: Mapping[str, Call], rounds: int, measurements: Measurements) -> None:
    """Time the calls in rounds, so that other load on the machine affects all of them alike."""
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            for number in range(WARM_UP + SAMPLES):
                started = time.perf_counter()
                await calls[name]()
                if number >= WARM_UP:
                    times_s[name].append(time.perf_counter() - started)
    for name, found in times_s.items():
        measurements.add_times(name, found)


def _page(environment: Environment, channel: grpc.aio.Channel, collection: str) -> Call:
    request = draft_pb2.GetMergedRequest(
        tenant_id=BESIDE, collection=collection, page_size=PAGE, response_encoding=types_pb2.ENCODING_JSON
    ).SerializeToString()
    rpc: Any = channel.unary_unary("/draftline.v1.DraftService/GetMerged")
    metadata = _metadata(environment, BESIDE)
    return lambda: rpc(request, metadata=metadata)


def _patch(environment: Environment, channel: grpc.aio.Channel, tenant_id: str) -> Call:
    request = content_pb2.PatchContentRequest(
        tenant_id=tenant_id, collection=PLAIN, response_encoding=types_pb2.ENCODING_JSON
    )
    rpc: Any = channel.unary_unary("/draftline.v1.ContentService/PatchContent")
    metadata = _metadata(environment, tenant_id)

    def call() -> Awaitable[Any]:
        now = time.time_ns()
        request.record_id = record_id(now * 7_919 % RECORDS)
        request.delta.json = f'{{"IMDB Votes":{now}}}'
        result: Awaitable[Any] = rpc(request.SerializeToString(), metadata=metadata)
        return result

    return call


def _metadata(environment: Environment, tenant_id: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {environment.token([tenant_id])}"),)
