"""A refused record of many, an outage, a throttled and a hanging system: with a service and workers as processes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from draftline import AsyncClient, RecordState
from support.server_process import served
from support.soak_scale import IS_SOAK, length
from support.sync_workers import Workers
from support.toy_upstream import grpc_endpoint, toy

RECORDS = length("SYNC_RECORDS", 10_000, soak=10_000)
OUTAGE_S = length("SYNC_OUTAGE_S", 600.0, soak=600.0)
ROUNDS = length("SYNC_ROUNDS", 3, soak=3)
COMMITS = 200  # of each round
RECOVERED_S = 60.0  # after an outage, until everything is synced
RETRY_AFTER_S = 5
AT_ONCE_S = 0.5
TOLERANCE, TOLERANCE_S = 1.2, 0.01  # of the delay beside a hanging system
# tests/store/test_sync_worker.py has the short forms.
pytestmark = pytest.mark.skipif(not IS_SOAK, reason="runs in `make soak`")


class System(toy.System):  # type: ignore[misc, name-defined]
    """The toy. `arrivals`: when the writes of a record arrived; `refused`: the references of records it refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: dict[str, list[float]] = {}
        self.refused: set[str] = set()
        self.requests: list[float] = []
        self.answers = threading.Event()
        self.answers.set()

    def happens(self, fault: str) -> bool:
        if fault == "throttle":  # it is asked once in each request
            self.requests.append(time.monotonic())
        return bool(super().happens(fault))

    def deliver(self, write: Callable[[], Any]) -> Any:
        self.answers.wait()
        return super().deliver(write)

    def check(self, write: Any) -> None:
        part = self.parts.get(write.part_id)
        reference = write.reference or (part.reference if part is not None else "")
        self.arrivals.setdefault(reference, []).append(time.monotonic())
        if reference in self.refused:
            fields = [{"path": "/rate", "message": "is not allowed"}]
            raise toy.RefusedError(422, error={"code": "INVALID_RATE", "message": "it is refused", "fields": fields})
        super().check(write)


class Scene:
    """A service, a process of workers, and a system and client of each tenant."""

    def __init__(self, systems: dict[str, System], clients: dict[str, AsyncClient], running: dict[str, Any]) -> None:
        self.systems, self.clients, self.running = systems, clients, running


@asynccontextmanager
async def scene(database_url: str, folder: Path, *tenants: str) -> AsyncIterator[Scene]:
    systems = {name: System() for name in tenants}
    running = {name: toy.Running(system) for name, system in systems.items()}
    endpoints = {name: grpc_endpoint(each.grpc_port, tenants=[name]) for name, each in running.items()}
    path = folder / "upstreams.json"
    path.write_text(json.dumps(endpoints))
    with served(database_url=database_url) as service:
        clients = {name: AsyncClient(service.address, tenant_id=name, user="ada", timeout=60) for name in tenants}
        workers = Workers(database_url=database_url, upstreams_file=path, log_level="error")
        workers.start()
        opened = Scene(systems, clients, running)
        try:
            yield opened
        finally:
            for system in systems.values():
                system.answers.set()
            await workers.stop()
            for client in clients.values():
                await client.close()
            for each in opened.running.values():
                each.stop()


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float) -> float:
    """Wait until a condition holds, and return how long that took."""
    started = time.monotonic()
    while not await condition():
        assert time.monotonic() < started + timeout_s, "it did not happen in time"
        await asyncio.sleep(0.1)
    return time.monotonic() - started


async def is_settled(client: AsyncClient) -> bool:
    return (await client.get_sync_status("toy")).is_settled


async def test_one_refused_record_of_many_is_the_only_one_that_is_not_synced(
    database_url: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Show its reason and field in lists of records and of syncs, and send it again only after a change."""
    async with scene(database_url, tmp_path, "acme") as opened:
        client, system = opened.clients["acme"], opened.systems["acme"]
        refused = f"r{RECORDS // 3:05}"
        system.refused.add(refused)
        await client.import_content("parts", [(f"r{number:05}", {"rate": number}) for number in range(RECORDS)])
        await client.put_sync("toy", "acme", ["parts"])
        await until(lambda: has_written(system), 60)
        report(f"{RECORDS} records settled after {await until(lambda: is_settled(client), 300):.1f} s")
        states = Counter([each.state async for each in client.get_merged("parts")])
        assert states == {RecordState.SYNCED: RECORDS - 1, RecordState.SYNC_ERROR: 1}
        (shown,) = [each async for each in client.get_merged("parts", record_ids=[refused])]
        (listed,) = [each async for each in client.list_sync_records("parts", state=RecordState.SYNC_ERROR)]
        assert listed.record_id == refused
        for sync in (listed.sync, shown.sync):
            assert sync is not None
            assert (sync.reason, sync.field) == ("INVALID_RATE", "/rate")
        await client.run_sync("toy", "push")
        await asyncio.sleep(5)
        assert len(system.arrivals[refused]) == 1
        system.refused.clear()
        await client.patch_content("parts", refused, {"rate": 0})
        await until(lambda: is_synced(client, refused), 60)


async def has_written(system: System) -> bool:
    return bool(system.parts)


async def is_synced(client: AsyncClient, record_id: str) -> bool:
    (shown,) = [each async for each in client.get_merged("parts", record_ids=[record_id])]
    return shown.state is RecordState.SYNCED


async def test_outage_fails_nothing_and_all_is_synced_soon_after_it(
    database_url: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Commit while the system cannot be reached; count the outage against no record; then send everything."""
    async with scene(database_url, tmp_path, "acme") as opened:
        client, system = opened.clients["acme"], opened.systems["acme"]
        port = opened.running["acme"].grpc_port
        await client.put_sync("toy", "acme", ["parts"])
        await client.create_content("parts", {"rate": 0}, record_id="first")
        await until(lambda: is_synced(client, "first"), 60)
        opened.running["acme"].stop()
        end, written = time.monotonic() + OUTAGE_S, 0
        while time.monotonic() < end:
            await client.create_content("parts", {"rate": written}, record_id=f"p{written}")
            written += 1
            status = await client.get_sync_status("toy")
            assert (status.failed, status.conflicts) == (0, 0)
            await asyncio.sleep(OUTAGE_S / 1_000)
        opened.running["acme"] = toy.Running(system, grpc_port=port)
        took_s = await until(lambda: is_settled(client), RECOVERED_S)
        report(f"{written} records synced {took_s:.1f} s after an outage of {OUTAGE_S:.0f} s")
        assert {each.state async for each in client.get_merged("parts")} == {RecordState.SYNCED}
        assert {part.reference for part in system.parts.values()} == {"first", *(f"p{n}" for n in range(written))}
        assert len(system.parts) == written + 1


async def test_throttled_system_gets_no_request_before_the_time_it_asks_for(database_url: str, tmp_path: Path) -> None:
    """Obey the time, although many records wait. Requests that were out at once count as one."""
    async with scene(database_url, tmp_path, "acme") as opened:
        client, system = opened.clients["acme"], opened.systems["acme"]
        await client.put_sync("toy", "acme", ["parts"], pull_interval_s=1)
        await client.create_content("parts", {"rate": 0}, record_id="first")
        await until(lambda: is_synced(client, "first"), 60)
        system.retry_after_s, system.rates, system.requests = RETRY_AFTER_S, {"throttle": 1.0}, []
        for number in range(50):
            await client.create_content("parts", {"rate": number}, record_id=f"p{number}")
        await asyncio.sleep(4 * RETRY_AFTER_S)
        times, system.rates = list(system.requests), {}
        assert len(times) > 1
        starts = [times[0]]
        for each in times:
            if each > starts[-1] + AT_ONCE_S:
                assert each >= starts[-1] + RETRY_AFTER_S
                starts.append(each)
        await until(lambda: is_settled(client), RECOVERED_S)


async def test_hanging_system_of_one_tenant_delays_no_other(
    database_url: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Compare the delays from commits to their requests while another tenant's system answers, and while it hangs."""
    async with scene(database_url, tmp_path, "slow", "other") as opened:
        for name, client in opened.clients.items():
            await client.put_sync("toy", name, ["parts"])
            await client.create_content("parts", {"rate": 0}, record_id="first")
            await until(lambda client=client: is_synced(client, "first"), 60)  # type: ignore[misc]
        slow = opened.systems["slow"]
        delays: dict[bool, list[float]] = {True: [], False: []}  # the 99th percentile of each round
        for turn in range(ROUNDS):
            for hangs in (False, True):
                (slow.answers.clear if hangs else slow.answers.set)()
                await asyncio.gather(*(
                    opened.clients["slow"].create_content("parts", {"rate": turn}, record_id=f"{hangs}{turn}-{number}")
                    for number in range(100)
                ))  # fmt: skip
                delays[hangs].append(percentile(await commit_delays(opened, f"{hangs}{turn}")))
    usual, beside = (min(delays[hangs]) for hangs in (False, True))  # other load on the machine only adds to them
    report(f"commit to request, p99: {usual * 1000:.0f} ms, beside a hanging system {beside * 1000:.0f} ms")
    assert beside <= TOLERANCE * usual + TOLERANCE_S


async def commit_delays(opened: Scene, prefix: str) -> list[float]:
    client, system = opened.clients["other"], opened.systems["other"]
    delays = []
    for number in range(COMMITS):
        record_id = f"{prefix}-{number}"
        started = time.monotonic()
        await client.create_content("parts", {"rate": number}, record_id=record_id)
        await until_arrived(system, record_id)
        delays.append(system.arrivals[record_id][0] - started)
    return delays


async def until_arrived(system: System, record_id: str) -> None:
    end = time.monotonic() + 30
    while record_id not in system.arrivals:
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


def percentile(values: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(values)[len(values) * 99 // 100]
