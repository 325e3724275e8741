"""The text of a process's metrics."""

from __future__ import annotations

import asyncio

import grpc
from draftline_server.observability.metrics import SLICE_SAMPLES, Gauge, Metrics
from draftline_server.observability.telemetry import Telemetry
from prometheus_client.exposition import generate_latest

METHODS = [f"draftline.v1.ContentService.Method{number}" for number in range(20)]


def busy_metrics() -> Metrics:
    telemetry = Telemetry()
    for code in (grpc.StatusCode.OK, grpc.StatusCode.ABORTED):
        for name in METHODS:
            call = telemetry.start_call(telemetry.method(name, sends_stream=True))
            call.code = code
            telemetry.end_call(call)
    return Metrics(telemetry, [Gauge("draftline_calls_open", "Open calls.", lambda: 1)])


def without_process(text: bytes) -> list[bytes]:
    return [line for line in text.splitlines() if b"process_" not in line]


async def test_text_in_slices_is_the_text_of_prometheus_client() -> None:
    metrics = busy_metrics()
    text = await metrics.text()
    assert len(text.splitlines()) > 5 * SLICE_SAMPLES
    assert without_process(text) == without_process(generate_latest(metrics._registry))


async def test_rendering_returns_control_to_the_event_loop() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    text = await busy_metrics().text()
    counting.cancel()
    assert turns >= len(text.splitlines()) / SLICE_SAMPLES
