"""Several processes that serve as one: started, kept and ended together.

Invariants:
- A worker that cannot start at first ends them all. One that ends later is started again until it serves, after
  pauses that grow for as long as it does not stay.
- A worker whose supervisor is gone, whatever way, ends at once: its standard input does.
- A signal of the terminal reaches the supervisor alone; it ends the workers, and outlives them.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

import structlog

from ..domain.errors import OperatorError, OutOfReachError

RESTART_S = (0.2, 5.0)  # the first and the longest pause before a worker that ended is started again
STEADY_S = 10.0  # a worker that served for so long may end once more without a longer pause
STOPPED = (0, -signal.SIGTERM)  # the latter of one that did not serve yet
CLOSE_S = 10.0  # what a worker may take to end, besides the calls that it lets end


class WorkerError(OperatorError):
    """A worker cannot be started, or did not end; the text says why."""


class Orders(Protocol):
    """What workers are told, and who wants to know of them."""

    def began(self, worker: int, start: int) -> bytes:
        """What a worker is told on its standard input, in a line, at its first start, its second..."""

    def ended(self, worker: int, start: int) -> None:
        """The worker of that start is gone."""


class Worker:
    """One of the processes, or the one that took its place."""

    def __init__(self, number: int, orders: Orders) -> None:
        self.number = number
        self._orders = orders
        self._starts = 0
        self._told_of = 0  # the last start whose end the orders were told of
        self._process: Process | None = None

    async def start(self) -> None:
        """Starts it; returns when it serves. WorkerError or OutOfReachError, told by itself, if it ends instead."""
        order = self._orders.began(self.number, self._starts + 1)
        self._starts += 1
        # In a session of its own: a Ctrl-C in the terminal reaches the supervisor alone.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "draftline_server.worker", stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        self._process = process
        sink, source = cast(asyncio.StreamWriter, process.stdin), cast(asyncio.StreamReader, process.stdout)
        with suppress(ConnectionError):  # it has ended, and this is told below
            sink.write(order + b"\n")
            await sink.drain()
        line = await source.readline()
        said = json.loads(line) if line else {"problem": f"{await self.ended()}; its log says why"}
        for kind, error in (("problem", WorkerError), ("out_of_reach", OutOfReachError)):
            if kind in said:
                await self.ended()
                raise error(said[kind])

    async def ended(self) -> str:
        """Waits for its end; in words."""
        if self._process is None:
            return "it was not started"
        status = await self._process.wait()
        if self._told_of != self._starts:
            self._told_of = self._starts
            self._orders.ended(self.number, self._starts)
        told = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return f"worker {self.number} ended {told}"

    async def end(self, grace_s: float) -> None:
        """Lets its calls end. WorkerError if that takes too long, and it is killed, or if it ends otherwise."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                how = await self.ended()
        except TimeoutError:
            process.kill()
            await self.ended()
            raise WorkerError(f"worker {self.number} did not end within {grace_s:g} s, and was killed") from None
        if process.returncode not in STOPPED:
            raise WorkerError(how)


async def supervise(
    count: int, orders: Orders, *, stop: asyncio.Event, serving: Callable[[], None], drain_timeout_s: float
) -> None:
    """Keeps so many workers until `stop`; `serving` is called when all of them serve. WorkerError, OutOfReachError."""
    workers = [Worker(number, orders) for number in range(1, count + 1)]
    work, stopped = asyncio.create_task(_work(workers, serving)), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if stopped.done():
            structlog.get_logger().info("draining_workers", workers=count, timeout_s=drain_timeout_s)
        for task in (work, stopped):
            task.cancel()
        outcome, _ = await asyncio.gather(work, stopped, return_exceptions=True)
        ends = await asyncio.gather(
            *(worker.end(drain_timeout_s + CLOSE_S) for worker in workers), return_exceptions=True
        )
    for problem in (outcome, *ends):
        if isinstance(problem, Exception):
            raise problem


async def _work(workers: Sequence[Worker], serving: Callable[[], None]) -> None:
    """Starts them, and keeps them until it is cancelled."""
    await _together([worker.start() for worker in workers])
    serving()
    await _together([_keep(worker) for worker in workers])


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All of them at once; the first that fails ends the others, and is what it raises."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep(worker: Worker) -> None:
    log, pause_s = structlog.get_logger(), RESTART_S[0]
    while True:
        began = time.monotonic()
        log.error("worker_ended", worker=worker.number, how=await worker.ended())
        if time.monotonic() > began + STEADY_S:
            pause_s = RESTART_S[0]
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_S[1])
            try:
                await worker.start()
            except (OperatorError, OSError) as error:
                log.warning("worker_not_started", worker=worker.number, reason=str(error))
            else:
                break
        log.info("worker_started_again", worker=worker.number)
