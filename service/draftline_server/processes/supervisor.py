"""Several processes that serve as one: started, kept and ended together.

Invariants:
- A worker that says why it cannot start, at first, ends them all. One that is killed at its first start is started
  again a few times. One that ends later is started again until it serves, after pauses that grow for as long as it
  does not stay.
- A worker that is stopped or hangs is killed and started again (worker_process.py).
- A worker whose supervisor is gone, whatever way, ends at once: its standard input does.
- A signal of the terminal reaches the supervisor alone; it ends the workers, and outlives them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from ..domain.errors import OperatorError
from .worker_process import Orders, Worker, WorkerLostError

RESTART_S = (0.2, 5.0)  # the first and the longest pause before a worker that ended is started again
STEADY_S = 10.0  # a worker that served for so long may end once more without a longer pause
FIRST_STARTS = 5  # times that a worker is started at first before the service gives up
CLOSE_S = 10.0  # what a worker may take to end, besides the calls that it lets end


async def supervise(
    count: int,
    orders: Orders,
    *,
    stop: asyncio.Event,
    serving: Callable[[], None],
    drain_timeout_s: float,
    worker_timeout_s: float,
) -> None:
    """Keep so many workers until `stop`; `serving` is called when all of them serve.

    `worker_timeout_s`: how long one may give no sign of life. Raises WorkerError and OutOfReachError.
    """
    workers = [Worker(number, orders, worker_timeout_s) for number in range(1, count + 1)]
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
    await _together([_start_first(worker) for worker in workers])
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


async def _start_first(worker: Worker) -> None:
    """Start a worker for the first time, again if it is lost meanwhile: to the kernel's want of memory, or by hand."""
    pause_s = RESTART_S[0]
    for left in reversed(range(FIRST_STARTS)):
        try:
            await worker.start()
        except WorkerLostError as error:
            if not left:
                raise
            structlog.get_logger().warning("worker_not_started", worker=worker.number, reason=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_S[1])
        else:
            return


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
