"""A full disk: writes are refused, nothing acknowledged is lost, and once there is room all goes on by itself."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import grpc
import pytest
from draftline import Client, ResourceExhaustedError
from draftline.v1 import content_pb2, content_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.call_history import History, Stored
from support.polling import eventually
from support.retrying_writers import ATTEMPT_S, CHANNEL_OPTIONS, COLLECTION, Writer, prepare
from support.server_process import invoked, served

DISK_BYTES = 160 * 1024 * 1024
WRITERS = 8
POLL_S = 0.05
TENANT = "acme"
SERVING = health_pb2.HealthCheckResponse.SERVING
# Fills the log that is written ahead, and nothing else.
SPEND = "SELECT pg_logical_emit_message(true, '', repeat('x', 1000000))"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room that there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))
    return ballast


class Reader:
    """Reads one record all the time, and counts how its calls end."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = content_pb2_grpc.ContentServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self.ends: Counter[str] = Counter()
        self.is_serving = True

    async def read(self) -> None:
        request = content_pb2.GetContentRequest(tenant_id=TENANT, collection=COLLECTION, record_id="drafted-0")
        while True:
            try:
                await self._stub.GetContent(request, timeout=ATTEMPT_S)
                self.ends["OK"] += 1
            except grpc.aio.AioRpcError as error:
                self.ends[error.code().name] += 1
            health = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=ATTEMPT_S)
            self.is_serving = health.status == SERVING
            await asyncio.sleep(POLL_S)


async def spend_log(url: str) -> None:
    """Until PostgreSQL cannot write any more of what it writes ahead, which ends it."""
    connection = await asyncpg.connect(url)
    with suppress(asyncpg.PostgresError, OSError):
        while True:
            await connection.execute(SPEND)


async def begin_log(url: str) -> None:
    """A new file of what is written ahead, with room for a while."""
    connection = await asyncpg.connect(url)
    await connection.execute("SELECT pg_switch_wal()")
    await connection.execute("CHECKPOINT")
    await connection.close()


def check_that_a_full_disk_is_named(address: str, data_dir: Path) -> None:
    """The error has a reason of its own, health warns, and the doctor finds a fault."""
    text = "x" * 1_000_000
    with Client(address, tenant_id=TENANT) as client, pytest.raises(ResourceExhaustedError) as refused:
        client.import_content(COLLECTION, ((str(number), {"text": text}) for number in range(100)))
    assert refused.value.reason == "STORAGE_FULL"
    health = invoked("health", "--address", address)
    assert (health.returncode, health.stdout) == (0, "SERVING\n")
    assert "the disk of the database is full" in health.stderr
    examined = invoked("doctor", "--json", "--quick", data_dir=data_dir, port=address.rpartition(":")[2])
    faults = [each["check"] for each in map(json.loads, examined.stdout.splitlines()) if each.get("state") == "fault"]
    assert faults == ["disk"]


async def test_full_disk_refuses_writes_and_loses_nothing(disk: Path, report: Callable[[str], None]) -> None:
    with served(data_dir=disk / "data") as service:
        url = f"postgresql://draftline@/draftline?host={(disk / 'data' / 'socket').resolve()}"
        history, is_over = History(), asyncio.Event()
        async with grpc.aio.insecure_channel(service.address, CHANNEL_OPTIONS) as channel:
            await prepare(channel, TENANT, history)
            reader = Reader(channel)
            reading = asyncio.create_task(reader.read())
            writers = [Writer(channel, TENANT, f"w{number}", history) for number in range(WRITERS)]
            working = [asyncio.create_task(writer.work(is_over.is_set)) for writer in writers]
            await eventually(lambda: len(history.acknowledged) > 100)

            await begin_log(url)
            ballast = fill(disk)
            await eventually(lambda: history.refusals["RESOURCE_EXHAUSTED"])
            refused_at, read_before = time.monotonic(), reader.ends["OK"]
            await eventually(lambda: reader.ends["OK"] > read_before)
            assert set(reader.ends) == {"OK"}
            await asyncio.to_thread(check_that_a_full_disk_is_named, service.address, disk / "data")
            report(f"{len(history.acknowledged)} writes, then {history.refusals}, while reads go on")

            await spend_log(url)
            await eventually(lambda: not reader.is_serving)
            await eventually(lambda: history.refusals["UNAVAILABLE"])

            ballast.unlink()
            freed_at = time.monotonic()
            await eventually(lambda: history.acknowledged[-1] > freed_at and reader.is_serving)
            report(f"freed after {freed_at - refused_at:.1f} s, back after {history.acknowledged[-1] - freed_at:.1f} s")
            is_over.set()
            await asyncio.gather(*working)
            reading.cancel()
        report(f"{len(history.acknowledged)} writes, refused: {history.refusals}, reads: {reader.ends}")
        assert service.process.poll() is None
        assert set(reader.ends) <= {"OK", "UNAVAILABLE"}
        assert set(history.refusals) <= {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}
        assert history.problems(await Stored.read(url, TENANT)) == []
