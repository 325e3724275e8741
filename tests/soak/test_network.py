"""A network that delays, stalls, cuts and half-closes: no write is lost, and no connection with it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

import asyncpg
import grpc
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc
from support.call_history import End, History, Stored
from support.polling import PATIENCE_S, eventually
from support.responses import document
from support.retrying_writers import CHANNEL_OPTIONS, Writer, prepare
from support.server_process import served
from support.soak_scale import length
from support.tcp_proxy import Proxy, Way, before, before_postgres

ROUNDS = length("NETWORK_ROUNDS", 1, soak=10)
WRITERS = 16
BLIND = 4
ATTEMPT_S = 1.0  # shorter than a stall
TROUBLE_S = 0.4
STALL_S = 1.5
POOL = 6
TENANT = "acme"


async def delay(proxy: Proxy) -> None:
    proxy.delay_s = random.uniform(0.01, 0.1)
    await asyncio.sleep(TROUBLE_S)
    proxy.delay_s = 0.0


async def cut(proxy: Proxy) -> None:
    proxy.cut()


async def half_close(proxy: Proxy) -> None:
    proxy.half_close(random.choice(list(Way)))


async def stall(proxy: Proxy) -> None:
    proxy.stalled = True
    await asyncio.sleep(STALL_S)
    proxy.stalled = False


async def forget(proxy: Proxy) -> None:
    proxy.forget()
    await asyncio.sleep(STALL_S)
    proxy.stalled = False


async def refuse(proxy: Proxy) -> None:
    proxy.refusing = True
    proxy.cut()
    await asyncio.sleep(TROUBLE_S)
    proxy.refusing = False


TROUBLES: list[Callable[[Proxy], Awaitable[None]]] = [delay, cut, half_close, stall, forget, refuse]


async def trouble(proxy: Proxy, history: History) -> None:
    """All kinds of it, each until writes are acknowledged again."""
    for _ in range(ROUNDS):
        for make in random.sample(TROUBLES, len(TROUBLES)):
            await make(proxy)
            count = len(history.acknowledged)
            await eventually(lambda count=count: len(history.acknowledged) > count)
            await asyncio.sleep(random.uniform(0, TROUBLE_S))


async def all_of_the_pool_is_there(address: str, connection: asyncpg.Connection) -> None:
    """Check that as many calls as the pool has connections can wait at the same time."""
    async with grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) as channel:
        stub = content_pb2_grpc.ContentServiceStub(channel)
        held = [{"tenant_id": TENANT, "collection": f"held-{number}", "record_id": "1"} for number in range(POOL)]
        for ids in held:
            request = content_pb2.CreateContentRequest(**ids, content=document({}))
            await stub.CreateContent(request, timeout=PATIENCE_S, wait_for_ready=True)
        async with connection.transaction():
            query = "SELECT FROM draftline.record WHERE tenant_id = $1 AND collection LIKE 'held-%' FOR UPDATE"
            await connection.execute(query, TENANT)
            patches = [content_pb2.PatchContentRequest(**ids, delta=document({"a": 1})) for ids in held]
            # Batches, because single patches that wait share a part of the pool.
            requests = [content_pb2.BatchPatchContentRequest(tenant_id=TENANT, requests=[each]) for each in patches]
            calls = [stub.BatchPatchContent(request, timeout=PATIENCE_S) for request in requests]
            await eventually(partial(are_pooled, connection, POOL, "wait_event_type = 'Lock'"))
        await asyncio.gather(*calls)


async def are_pooled(connection: asyncpg.Connection, count: int, condition: str = "true") -> bool:
    """Return whether the pool has `count` connections that meet a condition."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'draftline'"
    )
    # In a transaction, a first look would do for all.
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    return bool(await connection.fetchval(f"{query} AND {condition}") == count)


@pytest.mark.parametrize("where", ["database", "callers"])
async def test_network_that_fails_loses_no_write_and_no_connection(
    database_url: str, connection: asyncpg.Connection, where: str, report: Callable[[str], None]
) -> None:
    history, is_over = History(), asyncio.Event()
    settings = {"pool_size": POOL, "pool_connect_timeout_s": 1, "pool_idle_timeout_s": 1}
    with before_postgres(database_url) as (database, url), served(database_url=url, **settings) as service:
        with before(service.address) as (callers, address):
            async with grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) as channel:
                await prepare(channel, TENANT, history)
                writers = [
                    Writer(channel, TENANT, f"w{number}", history, has_ids=number >= BLIND, attempt_s=ATTEMPT_S)
                    for number in range(WRITERS)
                ]
                working = [asyncio.create_task(writer.work(is_over.is_set)) for writer in writers]
                await trouble(database if where == "database" else callers, history)
                is_over.set()
                await asyncio.gather(*working)
        stored = await Stored.read(database_url, TENANT)
        report(
            f"{ROUNDS} times {len(TROUBLES)} troubles: {history.count(End.DONE)} calls acknowledged, attempts refused: "
            f"{dict(history.refusals)}"
        )
        assert history.problems(stored) == []
        await all_of_the_pool_is_there(service.address, connection)
        await eventually(partial(are_pooled, connection, 0))
