"""Calls by the clock, whatever becomes of those before, and what was answered how fast."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from draftline.v1 import content_pb2, content_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

RECORDS = 50
TIMEOUT_S = 5.0  # of a call
OK, REFUSED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED


@dataclass
class Answers:
    """By code, how long each call took, in seconds."""

    took_s: dict[grpc.StatusCode, list[float]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)  # of those that were refused
    retries_s: list[float] = field(default_factory=list)  # when these may come again

    @property
    def counts(self) -> dict[str, int]:
        return {code.name: len(each) for code, each in self.took_s.items()}

    def percentile_s(self, percent: float, code: grpc.StatusCode = OK) -> float:
        ordered = sorted(self.took_s[code])
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def note(self, took_s: float, error: grpc.aio.AioRpcError | None) -> None:
        code = OK if error is None else error.code()
        self.took_s.setdefault(code, []).append(took_s)
        if error is not None and code is REFUSED:
            status = status_pb2.Status()
            for key, value in error.trailing_metadata() or ():
                if key == "grpc-status-details-bin":
                    status.ParseFromString(value)
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            self.reasons[info.reason if status.details and status.details[0].Unpack(info) else ""] += 1
            if any(detail.Unpack(retry) for detail in status.details):
                self.retries_s.append(retry.retry_delay.ToMicroseconds() / 1e6)


class Callers:
    """Many who read records of one tenant or, `counting`, patch them by one more each."""

    def __init__(self, channels: Sequence[Any], tenant_id: str, *, counting: bool = False) -> None:
        self._counting = counting
        self._stubs = [content_pb2_grpc.ContentServiceStub(channel) for channel in channels]
        self._tenant_id = tenant_id
        self._random = random.Random(tenant_id)

    async def call(self, answers: Answers) -> None:
        stub, record_id = self._random.choice(self._stubs), f"r-{self._random.randrange(RECORDS)}"
        named = {"tenant_id": self._tenant_id, "collection": "films", "record_id": record_id}
        started, error = time.perf_counter(), None
        try:
            if self._counting:
                patch = content_pb2.PatchContentRequest(**named)
                patch.operations.operations.add(op="increment", path="/n").value.json = "1"
                await stub.PatchContent(patch, timeout=TIMEOUT_S)
            else:
                await stub.GetContent(content_pb2.GetContentRequest(**named), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as failed:
            error = failed
        answers.note(time.perf_counter() - started, error)

    async def at_once(self, count: int, seconds: float) -> Answers:
        """So many who each call again when they are answered."""
        answers, end = Answers(), time.monotonic() + seconds

        async def one() -> None:
            while time.monotonic() < end:
                await self.call(answers)

        await asyncio.gather(*(one() for _ in range(count)))
        return answers

    async def per_second(self, rate: float, seconds: float) -> Answers:
        """So many calls a second, answered or not."""
        answers, started, sent = Answers(), time.monotonic(), 0
        async with asyncio.TaskGroup() as calls:
            while (passed_s := time.monotonic() - started) < seconds:
                while sent < passed_s * rate:
                    calls.create_task(self.call(answers))
                    sent += 1
                await asyncio.sleep(0.002)
        return answers


@asynccontextmanager
async def channels(address: str, count: int) -> Any:
    """Connections of their own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    opened = [grpc.aio.insecure_channel(address, options) for _ in range(count)]
    try:
        yield opened
    finally:
        await asyncio.gather(*(channel.close() for channel in opened))
