"""A durable PostgreSQL and a service on it, each of which can be killed, with measurements of the recovery."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from draftline_server.embedded_postgres.server import EmbeddedPostgres
from draftline_server.ops import migrate

from support.call_history import History
from support.server_process import Served, served

T = TypeVar("T")
WINDOW_S = 1.0  # over which a rate is taken afterwards
RECOVERED = 0.8  # of the rate before
POLL_S = 0.02
BACK_S = 60.0  # how long PostgreSQL may take to recover


class Stage:
    """Methods block. `beside` runs them on the thread that started PostgreSQL, which PostgreSQL is tied to."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        self.postgres = EmbeddedPostgres(data_dir)
        self._settings = settings
        self._port = 0
        self._service = ExitStack()
        self._thread = ThreadPoolExecutor(1, "stage")
        self.served: Served | None = None

    def start(self) -> None:
        self.postgres.start()
        migrate.upgrade(self.postgres.url)
        self.serve()

    def stop(self) -> None:
        self._service.close()
        self.postgres.stop()

    def serve(self) -> None:
        """Start the service, always on the port of its first start."""
        settings = {"database_url": self.postgres.url, "port": self._port, **self._settings}
        self.served = self._service.enter_context(served(**settings))
        self._port = int(self.served.address.rpartition(":")[2])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def beside(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        return self._thread.submit(work, *arguments)

    async def _beside(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.wrap_future(self.beside(work, *arguments))

    # The faults. Each returns the moment at which PostgreSQL was back, or never away.

    async def kill_service(self) -> float:
        """Kill the service with SIGKILL and start a new one."""
        assert self.served is not None
        await self._beside(self.served.stop, signal.SIGKILL)
        await self._beside(self.serve)
        return time.monotonic()

    async def drain_service(self) -> tuple[int, float]:
        """Stop the service with SIGTERM and start a new one; return the exit status and how long it took to stop."""
        assert self.served is not None
        struck = time.monotonic()
        status = await self._beside(self.served.stop, signal.SIGTERM)
        ended = time.monotonic()
        await self._beside(self.serve)
        return status, ended - struck

    async def kill_backend(self) -> float:
        """Kill one backend with SIGKILL, after which PostgreSQL ends all others and recovers."""
        lost = asyncio.Event()
        witness = await asyncpg.connect(self.postgres.url)
        witness.add_termination_listener(lambda _: lost.set())
        os.kill(random.choice(await self._backends()), signal.SIGKILL)
        await lost.wait()
        await self._is_back()
        return time.monotonic()

    async def kill_postgres(self) -> float:
        """Kill the server process with SIGKILL. The watchdog starts a new one, once the backends have ended."""
        lost = asyncio.Event()
        witness = await asyncpg.connect(self.postgres.url)
        witness.add_termination_listener(lambda _: lost.set())
        pid = self.postgres.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await lost.wait()
        await self._is_back()
        return time.monotonic()

    async def terminate_backends(self) -> float:
        for pid in await self._backends():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        return time.monotonic()

    async def restart_postgres(self) -> float:
        await self._beside(self.postgres.stop)
        await self._beside(self.postgres.start)
        return time.monotonic()

    async def _backends(self) -> list[int]:
        connection = await asyncpg.connect(self.postgres.url)
        try:
            rows = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'draftline'")
            return [row["pid"] for row in rows]
        finally:
            await connection.close()

    async def _is_back(self) -> None:
        async with asyncio.timeout(BACK_S):
            while True:
                try:
                    await (await asyncpg.connect(self.postgres.url)).close()
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(POLL_S)
                else:
                    return


@contextmanager
def staged(data_dir: Path, **settings: object) -> Iterator[Stage]:
    stage = Stage(data_dir, **settings)
    try:
        stage.beside(stage.start).result()
        yield stage
    finally:
        stage.beside(stage.stop).result()


@dataclass(frozen=True)
class Recovery:
    """The duration of a recovery, in seconds since PostgreSQL was available again; infinite if it timed out."""

    fault: str
    rate_before: float  # writes a second
    back_s: float  # until the first write was acknowledged
    recovered_s: float  # until the rate was that of before, but for a fifth
    away_s: float  # since the fault, until PostgreSQL was back

    def __str__(self) -> str:
        return (
            f"{self.fault:20} {self.rate_before:6.0f} writes/s before, away {self.away_s:5.2f} s, "
            f"then served after {self.back_s:5.2f} s, at four fifths of the rate after {self.recovered_s:5.2f} s"
        )


async def recovery(
    fault: Callable[[], Awaitable[float]], history: History, *, steady_s: float, patience_s: float
) -> Recovery:
    """Let the writers run for a while, inject the fault, and measure the recovery."""
    await asyncio.sleep(steady_s)
    struck = time.monotonic()
    before = rate(history, struck - steady_s, struck)
    back = await fault()
    first = recovered = float("inf")
    while time.monotonic() < back + patience_s and recovered == float("inf"):
        await asyncio.sleep(POLL_S)
        since = list(reversed_until(history, back))
        if since:
            first = min(first, since[-1])
        moment = time.monotonic()
        if moment >= back + WINDOW_S and rate(history, moment - WINDOW_S, moment) >= RECOVERED * before:
            recovered = moment - WINDOW_S
    return Recovery(fault.__name__, before, first - back, recovered - back, back - struck)


def rate(history: History, start: float, end: float) -> float:
    """Return the acknowledged writes per second."""
    return sum(moment < end for moment in reversed_until(history, start)) / (end - start)


def reversed_until(history: History, start: float) -> Iterator[float]:
    """Yield the times of acknowledgements since `start`, latest first."""
    for moment in reversed(history.acknowledged):
        if moment < start:
            return
        yield moment
