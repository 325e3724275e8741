"""A process of workers that is stopped for longer than its lease, and goes on with what it had read or sent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.recorded_upstream import problems
from support.server_process import served
from support.soak_scale import IS_SOAK
from support.sync_workers import Workers
from support.synced_tenant import SyncedTenant

pytestmark = pytest.mark.skipif(not IS_SOAK, reason="runs in `make soak`")
WAIT_S = 60.0
ROUNDS = 3  # at most: a process may lose what it had read when it goes on, as with its connections
LEASE = "lease"  # of a few seconds, which the workers do not renew and do not look at


class Gate:
    """Holds the next response of a system after it was made, until `release`."""

    def __init__(self, system: Any) -> None:
        self.is_reached = threading.Event()
        self._is_open = threading.Event()
        self._is_closed = False
        self.reads = 0
        self._system = system
        self._read, self._deliver = system.changes, system.deliver
        system.changes = partial(self._passed, "read", self._read)
        system.deliver = partial(self._passed, "write", self._deliver)
        self._kind = ""

    def hold(self, kind: str) -> None:
        """Hold the response to the next request of a kind, `read` or `write`."""
        self._kind = kind

    def release(self) -> None:
        self._is_open.set()

    def _passed(self, kind: str, made: Callable[..., Any], *arguments: Any) -> Any:
        response = made(*arguments)
        self.reads += kind == "read"
        if kind == self._kind and (kind == "write" or response[0]):  # a page of changes that is not empty
            self._kind = ""
            self.is_reached.set()
            self._is_open.wait(WAIT_S)
        return response


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await condition():  # noqa: ASYNC110  it is in another process
            await asyncio.sleep(0.05)


class Scene:
    """A record of both sides, one process of workers, and a gate that holds a response."""

    def __init__(self, tenant: SyncedTenant, workers: Workers) -> None:
        self.tenant, self.workers = tenant, workers
        self.gate = Gate(tenant.system)
        self.first: subprocess.Popen[bytes]

    async def begin(self) -> None:
        tenant = self.tenant
        await tenant.client.put_sync("toy", tenant.name, ["parts"], pull_interval_s=1)
        record = await tenant.client.create_content("parts", {"a": "u0"}, record_id="r")
        tenant.writes.acknowledged("r", "a", "u0", record.version)
        self.first = self.workers.start()
        await until(partial(self._holds, "u0"))

    async def commit(self, value: str) -> None:
        result = await self.tenant.client.patch_content("parts", "r", {"a": value})
        self.tenant.writes.acknowledged("r", "a", value, result.record.version)

    async def stop_first(self) -> None:
        """Stop the first process while it waits for the response, and let the response arrive."""
        assert await asyncio.to_thread(self.gate.is_reached.wait, WAIT_S)
        self.first.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, self.first.pid, os.WSTOPPED | os.WNOWAIT)
        self.gate.release()

    async def replace_first(self, value: str) -> None:
        """Have a second process take the sync over and send a new value; kill it, and continue the first."""
        second = self.workers.start()
        await self.commit(value)
        await until(partial(self._holds, value))
        await until(self._is_settled)
        await self.workers.kill(second)
        reads = self.gate.reads
        self.first.send_signal(signal.SIGCONT)
        # One more read begins after what the process had read or sent before is merged or settled.
        await until(partial(self._has_read, reads + 2))

    async def found(self) -> list[str]:
        """Let the sides settle, and return what breaks a law."""
        tenant = self.tenant
        await until(self._is_settled)
        return list(problems(tenant.system, tenant.writes, await tenant.content(), await tenant.log()))

    async def _holds(self, value: str) -> bool:
        return any(part.content.get("a") == value for part in self.tenant.system.living())

    async def _is_settled(self) -> bool:
        return (await self.tenant.client.get_sync_status("toy")).is_settled

    async def _has_read(self, reads: int) -> bool:
        return self.gate.reads >= reads


@asynccontextmanager
async def scene(database_url: str, folder: Path, mutation: str, name: str) -> AsyncIterator[Scene]:
    with served(database_url=database_url) as service:
        tenant = SyncedTenant(name, service.address, 0, frozenset(), {}, 1)
        path = folder / "upstreams.json"
        path.write_text(json.dumps({tenant.name: {**tenant.endpoint(0, by_commit=False), "timeout_s": WAIT_S}}))
        workers = Workers(mutation, database_url=database_url, upstreams_file=path, log_level="warning")
        try:
            yield Scene(tenant, workers)
        finally:
            await workers.stop()
            await tenant.close()


async def stopped_while_it_reads(scene: Scene) -> None:
    """Stop it with a page that has the value from before a commit, which the second process sends."""
    scene.gate.hold("read")
    scene.tenant.system.write("update", "", scene.tenant.system.living()[0].id, edits=[("/e", False, "t")], actor="x")
    await scene.stop_first()
    await scene.replace_first("u1")


async def stopped_while_it_writes(scene: Scene) -> None:
    """Stop it with the outcome of a write, which the second process repeats before it sends a newer value."""
    scene.gate.hold("write")
    await scene.commit("u1")
    await scene.stop_first()
    await scene.replace_first("u2")


@pytest.mark.parametrize(
    ("stop", "mutation", "is_damaged"),
    [
        (stopped_while_it_reads, LEASE, False),
        (stopped_while_it_writes, LEASE, False),
        (stopped_while_it_reads, f"{LEASE}+no fence", True),
    ],
    ids=["read", "write", "read, no fence"],
)
async def test_worker_that_outlives_its_lease_does_damage_only_without_a_fence(
    database_url: str,
    tmp_path: Path,
    stop: Callable[[Scene], Awaitable[None]],
    mutation: str,
    is_damaged: bool,
) -> None:
    """Merge nothing that was read before a newer write was acknowledged, and settle no outcome twice."""
    for number in range(ROUNDS):
        async with scene(database_url, tmp_path, mutation, f"tenant-{number}") as opened:
            await opened.begin()
            await stop(opened)
            found = await opened.found()
        if not is_damaged:
            assert found == []
            return
        if any(each.startswith("reverted") for each in found):
            return
    pytest.fail(f"none of {ROUNDS} rounds reverted a value")
