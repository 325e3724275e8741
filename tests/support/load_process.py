"""Generate calls at a fixed rate and measure the responses.

Each load runs in its own process, so that loads do not slow each other: this module, run with a load as its
argument, generates it and writes the results to standard output.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvloop
from draftline.v1 import content_pb2
from google.rpc import error_details_pb2, status_pb2

RECORDS = 50
TIMEOUT_S = 5.0  # of a call
OK, REFUSED = "OK", "RESOURCE_EXHAUSTED"
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


@dataclass(frozen=True)
class Load:
    """The calls of one tenant: reads of its records or, if `counting`, patches that increment them."""

    address: str
    tenant_id: str
    connections: int = 1
    counting: bool = False
    seconds: float = 0.0
    at_once: int = 0  # who each call again when they are answered; 0: `per_second`
    per_second: float = 0.0  # answered or not


@dataclass
class Answers:
    """The duration of each call in seconds, by status code."""

    took_s: dict[str, list[float]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)  # of those that were refused
    retries_s: list[float] = field(default_factory=list)  # when these may come again

    @property
    def counts(self) -> dict[str, int]:
        return {code: len(each) for code, each in self.took_s.items()}

    def percentile_s(self, percent: float, code: str = OK) -> float:
        ordered = sorted(self.took_s[code])
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


async def put_on(load: Load) -> Answers:
    """Generate a load in its own process and return the results."""
    return Answers(**json.loads(await asyncio.to_thread(_run, load)))


def _run(load: Load) -> bytes:
    # Not by asyncio: the pipe that it gives a process may not block, and then a long line is cut off.
    command = (sys.executable, "-m", "support.load_process", json.dumps(asdict(load)))
    root, limit_s = Path(__file__).parents[1], load.seconds + 10 * TIMEOUT_S
    return subprocess.run(command, cwd=root, stdout=subprocess.PIPE, timeout=limit_s, check=True).stdout


@dataclass
class _Caller:
    """Requests are bytes and answers stay bytes: while it lasts, a load calls and does little else."""

    load: Load
    answers: Answers = field(default_factory=Answers)
    refusals: list[bytes] = field(default_factory=list)

    async def put_on(self) -> Answers:
        load = self.load
        channels = [grpc.aio.insecure_channel(load.address, OWN_CONNECTION) for _ in range(load.connections)]
        method = "PatchContent" if load.counting else "GetContent"
        rpcs = [channel.unary_unary(f"/draftline.v1.ContentService/{method}") for channel in channels]
        requests = [self._request(f"r-{number}").SerializeToString() for number in range(RECORDS)]
        chosen = random.Random(load.tenant_id)

        async def call() -> None:
            await self._call(chosen.choice(rpcs)(chosen.choice(requests), timeout=TIMEOUT_S))

        await (self._at_once(call) if load.at_once else self._per_second(call))
        await asyncio.gather(*(channel.close() for channel in channels))
        self._read_refusals()
        return self.answers

    def _request(self, record_id: str) -> Any:
        named = {"tenant_id": self.load.tenant_id, "collection": "films", "record_id": record_id}
        if not self.load.counting:
            return content_pb2.GetContentRequest(**named)
        patch = content_pb2.PatchContentRequest(**named)
        patch.operations.operations.add(op="increment", path="/n").value.json = "1"
        return patch

    async def _call(self, sent: Any) -> None:
        started, code = time.perf_counter(), OK
        try:
            await sent
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            if code == REFUSED:
                self.refusals.append(dict(tuple(error.trailing_metadata())).get("grpc-status-details-bin", b""))
        self.answers.took_s.setdefault(code, []).append(time.perf_counter() - started)

    async def _at_once(self, call: Callable[[], Awaitable[None]]) -> None:
        end = time.monotonic() + self.load.seconds

        async def one() -> None:
            while time.monotonic() < end:
                await call()

        await asyncio.gather(*(one() for _ in range(self.load.at_once)))

    async def _per_second(self, call: Callable[[], Awaitable[None]]) -> None:
        started, sent = time.monotonic(), 0
        async with asyncio.TaskGroup() as calls:
            while (passed_s := time.monotonic() - started) < self.load.seconds:
                while sent < passed_s * self.load.per_second:
                    calls.create_task(call())
                    sent += 1
                await asyncio.sleep(0.002)

    def _read_refusals(self) -> None:
        reasons: Counter[str] = Counter()
        for details in self.refusals:
            status = status_pb2.Status.FromString(details)
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            reasons[info.reason if status.details and status.details[0].Unpack(info) else ""] += 1
            if any(detail.Unpack(retry) for detail in status.details):
                self.answers.retries_s.append(retry.retry_delay.ToMicroseconds() / 1e6)
        self.answers.reasons.update(reasons)


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_Caller(Load(**json.loads(sys.argv[1]))).put_on()))))
