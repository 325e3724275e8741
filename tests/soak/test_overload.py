"""Ten times what the service can do.

The database answers late, so that it is the limit, and not this machine: what is asserted is what no load of others
changes, and the figures are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import asyncpg
import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.load_process import OK, RECORDS, REFUSED, TIMEOUT_S, Answers, Load, put_on
from support.server_process import Served, served
from support.servers import cloned
from support.soak_scale import IS_SOAK, length
from support.tcp_proxy import before_postgres

OVERLOAD_S = length("OVERLOAD_S", 1.0, soak=60.0)
ALONE_S = length("ALONE_S", 0.5, soak=30.0)  # of the other tenant, for what it takes usually
POOL = 10  # connections
# What the network takes there and back again, each. In the short form twice as much, and so there is half of the calls,
# for this machine is not the test's alone.
DELAY_S = length("OVERLOAD_DELAY_S", 0.1, soak=0.05)
MAX_IN_FLIGHT, QUEUE_LIMIT = 32, 64
MEASURED_S = length("OVERLOAD_MEASURED_S", 0.5, soak=1.0)
MOST_GROWTH_BYTES = 48 * 1024 * 1024


@pytest.fixture(scope="module")
def url_of_module(postgres_url: str, template: str) -> Iterator[str]:
    with cloned(postgres_url, template) as url:
        yield url


@pytest.fixture(scope="module")
def far_server(url_of_module: str) -> Iterator[Served]:
    """A service whose database can do about POOL / (2 * DELAY_S) statements a second."""
    with (
        before_postgres(url_of_module) as (proxy, url),
        served(database_url=url, pool_size=POOL, max_in_flight=MAX_IN_FLIGHT, queue_limit=QUEUE_LIMIT) as running,
    ):
        proxy.delay_s = DELAY_S
        yield running


async def fill(url: str, *tenant_ids: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        """
        INSERT INTO draftline.record (tenant_id, collection, record_id, content, version,
            created_at, created_by, updated_at, updated_by)
        SELECT tenant_id, 'films', 'r-' || n, '{"title": "Alien", "n": 0}', 1, now(), 'a', now(), 'a'
        FROM unnest($1::text[]) AS tenant_id, generate_series(0, $2) AS n
        """,
        list(tenant_ids),
        RECORDS - 1,
    )
    await connection.close()


async def test_overload_is_refused_and_harms_nobody_else(
    far_server: Served, url_of_module: str, report: Callable[[str], None]
) -> None:
    await fill(url_of_module, "large", "small")
    process = psutil.Process(far_server.process.pid)
    large = Load(far_server.address, "large", connections=8)
    full = replace(large, at_once=MAX_IN_FLIGHT, seconds=MEASURED_S)
    small = Load(far_server.address, "small", at_once=1)
    await put_on(full)
    capacity = (await put_on(full)).counts[OK] / MEASURED_S
    alone = await put_on(replace(small, seconds=ALONE_S))
    overload = replace(large, per_second=10 * capacity)
    await put_on(replace(overload, seconds=1.0))  # what grows at the first overload, does so now
    resident = process.memory_info().rss
    async with asyncio.timeout(OVERLOAD_S + 4 * TIMEOUT_S), asyncio.TaskGroup() as tasks:
        overloaded = tasks.create_task(put_on(replace(overload, seconds=OVERLOAD_S)))
        beside = tasks.create_task(put_on(replace(small, seconds=OVERLOAD_S)))
        health = tasks.create_task(healthy(far_server.address))
    grown = process.memory_info().rss - resident
    after = await put_on(full)
    report(figures(capacity, alone, overloaded.result(), beside.result(), grown, after))
    check_refusals(overloaded.result())
    assert set(beside.result().counts) == {OK}
    assert set(after.counts) == {OK}
    assert health.result()
    assert not IS_SOAK or overloaded.result().percentile_s(99) < TIMEOUT_S  # on a machine that does nothing else
    assert grown < MOST_GROWTH_BYTES


async def test_64_times_the_pool_in_flight_are_shed_and_those_let_in_are_counted_once(
    far_server: Served, url_of_module: str
) -> None:
    await fill(url_of_module, "crowd")
    process = psutil.Process(far_server.process.pid)
    crowd = Load(far_server.address, "crowd", connections=8, counting=True, at_once=64 * POOL, seconds=MEASURED_S)
    async with asyncio.timeout(OVERLOAD_S + 4 * TIMEOUT_S):
        first = await put_on(crowd)  # what grows at the first overload, does so now
        resident = process.memory_info().rss
        answers = await put_on(crowd)
        grown = process.memory_info().rss - resident
    print(f"\n{64 * POOL} in flight: {answers.counts}, 99 % of those let in within {answers.percentile_s(99):.2f} s")
    for each in (first, answers):
        check_refusals(each)
    assert not IS_SOAK or answers.percentile_s(99) < TIMEOUT_S
    assert grown < MOST_GROWTH_BYTES
    acknowledged, expired = (
        sum(each.counts.get(code, 0) for each in (first, answers)) for code in (OK, "DEADLINE_EXCEEDED")
    )
    assert acknowledged <= await counted(url_of_module, "crowd") <= acknowledged + expired


async def counted(url: str, tenant_id: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        total: int = await connection.fetchval(
            "SELECT sum((content ->> 'n')::int) FROM draftline.record WHERE tenant_id = $1", tenant_id
        )
        return total
    finally:
        await connection.close()


def check_refusals(answers: Answers) -> None:
    assert set(answers.counts) - {"DEADLINE_EXCEEDED"} == {OK, REFUSED}
    assert set(answers.reasons) == {"OVERLOADED"}
    assert len(answers.retries_s) == answers.counts[REFUSED]
    assert min(answers.retries_s) > 0


async def healthy(address: str) -> bool:
    """Return whether the service is healthy."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for _ in range(int(OVERLOAD_S)):
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                return False
            await asyncio.sleep(0.9)
    return True


def figures(capacity: float, alone: Answers, overloaded: Answers, beside: Answers, grown: int, after: Answers) -> str:
    def ms(answers: Answers, percent: float, code: str = OK) -> str:
        return f"{1e3 * answers.percentile_s(percent, code):.1f} ms"

    ratios = [f"{beside.percentile_s(percent) / alone.percentile_s(percent):.2f}" for percent in (50, 99)]
    return (
        f"{capacity:.0f} calls a second at best, 10 times as many for {OVERLOAD_S:g} s: {overloaded.counts}"
        f"\naccepted in {ms(overloaded, 50)}, 99 % in {ms(overloaded, 99)}; refused in {ms(overloaded, 50, REFUSED)}, "
        f"99 % in {ms(overloaded, 99, REFUSED)}"
        f"\nanother tenant: alone in {ms(alone, 50)}, 99 % in {ms(alone, 99)}; beside it in {ms(beside, 50)}, "
        f"99 % in {ms(beside, 99)}: {' and '.join(ratios)} times as long"
        f"\nmemory grew by {grown / 2**20:.1f} MiB; right after {after.counts[OK] / MEASURED_S:.0f} calls a second"
    )
