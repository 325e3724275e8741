"""Both clients over connections that are cut, on the live service: writes take effect once, changes arrive once."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import draftline
import pytest
from draftline import op
from support.both_clients import Connect, reader_of
from support.tcp_proxy import Fate, Proxy, Way, before

WAIT_S = 60
PATIENT = draftline.Retry(max_attempts=50, initial_backoff_s=0.01, max_backoff_s=0.1)
RECORDS, WRITES = 4, 40

# Once in thousands of cuts, grpcio 1.78 leaves a call waiting on a channel that has gone idle, until the next one.
# A watch then takes its connection for silent, and a read is late.
SILENCE_S, TIMEOUT_S = 5, 5


@pytest.fixture
def tenant_id() -> str:
    return f"tenant-{uuid.uuid4()}"


@asynccontextmanager
async def cutting(proxy: Proxy, seed: int) -> AsyncIterator[None]:
    """Cut all connections of a proxy repeatedly, with pauses drawn from a seed."""
    chosen = random.Random(seed)

    async def cut() -> None:
        while True:
            await asyncio.sleep(chosen.uniform(0.01, 0.1))
            proxy.cut()

    cuts = asyncio.ensure_future(cut())
    try:
        yield
    finally:
        cuts.cancel()


async def test_increments_over_cut_connections_count_once(
    connect: Connect, server_address: str, tenant_id: str
) -> None:
    """Responses are lost as often as requests, and the client cannot distinguish the two."""
    sent = itertools.count()

    def judge(way: Way, _: bytes) -> Fate:
        return Fate.CUT if way is Way.BACK and next(sent) % 5 == 4 else Fate.PASS

    with before(server_address) as (proxy, address):
        async with connect(address, tenant_id=tenant_id, user="ada", retry=PATIENT) as client:
            await client.create_content("counts", {"n": 0}, record_id="1")
            proxy.judge = judge
            for _ in range(WRITES):
                await client.patch_content("counts", "1", operations=[op.increment("/n")])
            proxy.judge = None
            counted = await client.get_content("counts", "1")
    assert (counted.content, counted.version) == ({"n": WRITES}, WRITES + 1)
    assert proxy.cuts > WRITES / 10


@pytest.mark.parametrize("seed", [1, 2])
async def test_watch_over_cut_connections_sees_every_change_once_and_in_order(
    connect: Connect, server_address: str, tenant_id: str, seed: int
) -> None:
    with before(server_address) as (proxy, address):
        async with (
            draftline.AsyncClient(server_address, tenant_id=tenant_id, user="bob") as writer,
            connect(address, tenant_id=tenant_id, user="ada", retry=PATIENT) as client,
            client.watch("counts", silence_s=SILENCE_S) as watch,
            cutting(proxy, seed),
        ):

            async def write(record_id: str) -> None:
                for number in range(WRITES):
                    await writer.patch_content("counts", record_id, {"n": number}, allow_missing=True)
                    await asyncio.sleep(0.005)

            async def see() -> list[tuple[str, int]]:
                seen = [await anext(watch) for _ in range(RECORDS * WRITES)]
                return [(each.record_id, each.version) for each in seen]

            seeing = asyncio.ensure_future(see())
            await asyncio.gather(*(write(str(number)) for number in range(RECORDS)))
            seen = await asyncio.wait_for(seeing, WAIT_S)
            await writer.patch_content("counts", "0", {"last": True})
            assert (await asyncio.wait_for(anext(watch), WAIT_S)).version == WRITES + 1
    for number in range(RECORDS):
        versions = [version for record_id, version in seen if record_id == str(number)]
        assert versions == list(range(1, WRITES + 1))
    assert proxy.cuts > 3


async def test_watch_replaces_a_silent_connection(connect: Connect, server_address: str, tenant_id: str) -> None:
    """Like behind a restarted router: nothing arrives, and neither side gets an error."""
    with before(server_address) as (proxy, address):
        async with (
            draftline.AsyncClient(server_address, tenant_id=tenant_id, user="bob") as writer,
            connect(address, tenant_id=tenant_id, user="ada", retry=PATIENT) as client,
            client.watch("counts", silence_s=0.3) as watch,
        ):
            proxy.stalled = True
            await writer.patch_content("counts", "1", {"n": 1}, allow_missing=True)
            waiting = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(1)
            proxy.stalled = False
            assert (await asyncio.wait_for(waiting, WAIT_S)).version == 1


async def test_reader_over_cut_connections_ends_at_what_is_stored(
    connect: Connect, server_address: str, tenant_id: str
) -> None:
    with before(server_address) as (proxy, address):
        async with (
            draftline.AsyncClient(server_address, tenant_id=tenant_id, user="bob") as writer,
            connect(address, tenant_id=tenant_id, user="ada", retry=PATIENT, timeout=TIMEOUT_S) as client,
            reader_of(client, max_records=RECORDS - 1, silence_s=SILENCE_S) as reader,
        ):
            ids = [str(number) for number in range(RECORDS)]
            await writer.import_content("counts", [(each, {"n": 0}) for each in ids])
            async with cutting(proxy, 3):
                for number in range(1, WRITES):
                    written = await writer.patch_content("counts", ids[number % RECORDS], {"n": number})
                    for each in ids:
                        least = written.record.version if each == written.record.record_id else 0
                        with suppress(draftline.DeadlineExceededError):
                            assert (await reader.get("counts", each, min_version=least)).version >= least
            for each in ids:
                stored = await writer.get_content("counts", each)
                assert await once_at(stored.version, reader, each) == stored


async def once_at(version: int, reader: Any, record_id: str) -> draftline.Record:
    async def look() -> draftline.Record:
        while (record := await reader.get("counts", record_id)).version < version:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
        return record

    return await asyncio.wait_for(look(), WAIT_S)
