"""Several processes are measured as one, whichever of them come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
from draftline_server.gauges import Gauge
from draftline_server.observability.http_endpoints import MonitoringServer
from draftline_server.observability.metrics import Metrics
from draftline_server.observability.telemetry import Telemetry
from draftline_server.observability.worker_metrics import WorkerMetrics
from draftline_server.ops.socket_folders import short_base
from support.metrics import Scrape

READINGS = [Gauge("draftline_pool_size", "Connections.", lambda: 2)]
METHOD = "draftline.v1.ContentService.PatchContent"


class Worker:
    """A process that has answered so many calls, each with so many bytes."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.telemetry = Telemetry()
        self.is_ready = True
        self.metrics = Metrics(self.telemetry, READINGS)
        self.monitoring = MonitoringServer(self.metrics.text, self._is_ready)

    async def _is_ready(self) -> bool:
        return self.is_ready

    def answer(self, calls: int, sent_bytes: int, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        for _ in range(calls):
            call = self.telemetry.start_call(self.telemetry.method(METHOD))
            call.sent_bytes, call.code = sent_bytes, code
            self.telemetry.end_call(call)


@pytest.fixture
async def workers() -> AsyncIterator[list[Worker]]:
    # pytest's own is too long a path for a socket, and so may be the one for temporary files
    with TemporaryDirectory(dir=short_base("tmp12345678/0.sock")) as folder:
        started = [Worker(Path(folder) / f"{number}.sock") for number in range(3)]
        for worker in started:
            await worker.monitoring.start_at(worker.socket)
        yield started
        for worker in started:
            await worker.monitoring.close()


@pytest.fixture
def merged(workers: list[Worker]) -> WorkerMetrics:
    merged = WorkerMetrics()
    for number, worker in enumerate(workers):
        merged.began(str(number), worker.socket)
    return merged


async def read(merged: WorkerMetrics) -> Scrape:
    return Scrape((await merged.text()).decode())


async def test_samples_are_the_sums_of_all_workers(workers: list[Worker], merged: WorkerMetrics) -> None:
    for number, worker in enumerate(workers, 1):
        worker.answer(number, 2000)
    workers[0].answer(5, 10, grpc.StatusCode.ABORTED)
    scrape, size = await read(merged), "grpc_server_call_sent_total_compressed_message_size_bytes"
    assert scrape.value("grpc_server_call_started_total") == 11
    assert scrape.value("grpc_server_call_duration_seconds_count", grpc_status="OK") == 6
    assert scrape.value("grpc_server_call_duration_seconds_count", grpc_status="ABORTED") == 5
    assert scrape.value(f"{size}_sum", grpc_status="OK") == 12_000
    assert [scrape.value(f"{size}_bucket", grpc_status="OK", le=le) for le in ("1024.0", "2048.0", "+Inf")] == [0, 6, 6]
    assert scrape.value("draftline_pool_size") == 6
    assert scrape.value("draftline_build_info", version=metadata.version("draftline-server")) == 1
    assert scrape.value("draftline_workers") == 3
    single = Scrape((await Metrics(Telemetry(), READINGS).text()).decode())
    assert {family.name for family in single.families} < {family.name for family in scrape.families}


async def test_counters_of_a_worker_that_ended_stay_and_its_gauges_go(
    workers: list[Worker], merged: WorkerMetrics
) -> None:
    for worker in workers:
        worker.answer(10, 100)
    await merged.text()
    for number in (0, 1):
        merged.ended(str(number))
    workers[2].answer(1, 100)
    scrape = await read(merged)
    assert scrape.value("grpc_server_call_started_total") == 31
    assert scrape.value("grpc_server_call_duration_seconds_bucket", le="+Inf") == 31
    assert scrape.value("draftline_pool_size") == 2
    assert scrape.value("draftline_workers") == 1
    assert scrape.value("draftline_workers_ended_total") == 2


async def test_worker_that_does_not_answer_counts_with_what_it_told_last(
    workers: list[Worker], merged: WorkerMetrics
) -> None:
    for worker in workers:
        worker.answer(10, 100)
    await merged.text()
    await workers[0].monitoring.close()
    workers[0].socket.unlink(missing_ok=True)
    scrape = await read(merged)
    assert scrape.value("grpc_server_call_started_total") == 30
    assert scrape.value("draftline_workers") == 2


async def test_counters_do_not_fall_where_two_scrapes_meet(workers: list[Worker], merged: WorkerMetrics) -> None:
    worker, asked, released = workers[0], asyncio.Event(), asyncio.Event()
    worker.answer(10, 100)
    told = worker.metrics.text

    async def held_back() -> bytes:
        text = await told()
        if not asked.is_set():
            asked.set()
            await released.wait()
        return text

    worker.monitoring._metrics = held_back
    first = asyncio.create_task(read(merged))
    await asked.wait()
    worker.answer(10, 100)
    assert (await read(merged)).value("grpc_server_call_started_total") == 20
    released.set()
    assert (await first).value("grpc_server_call_started_total") == 20
    merged.ended("0")
    assert (await read(merged)).value("grpc_server_call_started_total") == 20


async def test_worker_that_never_listened_is_left_out(workers: list[Worker], merged: WorkerMetrics) -> None:
    merged.began("late", workers[0].socket.with_name("nowhere.sock"))
    assert (await read(merged)).value("draftline_workers") == 3
    merged.ended("late")
    assert (await read(merged)).value("draftline_workers") == 3


async def test_service_is_ready_while_any_worker_is(workers: list[Worker], merged: WorkerMetrics) -> None:
    for worker in workers[1:]:
        worker.is_ready = False
    assert await merged.is_ready()
    workers[0].is_ready = False
    assert not await merged.is_ready()
