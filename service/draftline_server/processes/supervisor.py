"""Supervision of several worker processes that serve as one.

Invariants:
- If a worker reports at its first start why it cannot start, all workers are ended. A worker that is killed during its
  first start is restarted a few times. A worker that ends later is restarted until it serves, with pauses that grow
  until it stays up.
- A worker that is stopped or hangs is killed and restarted (worker_process.py).
- A worker ends at once if its supervisor is gone for any reason, because its standard input is closed.
- Signals from the terminal reach only the supervisor. It ends the workers and outlives them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from ..domain.errors import OperatorError
from .worker_process import Worker, WorkerLostError, WorkerObserver

RESTART_S = (0.2, 5.0)  # the shortest and the longest pause before an ended worker is restarted
STEADY_S = 10.0  # the pause is reset after a worker has served for this long
FIRST_STARTS = 5  # attempts of the first start of a worker before the service gives up
CLOSE_S = 10.0  # time that a worker may take to end, in addition to draining its calls


async def supervise(
    count: int,
    observer: WorkerObserver,
    *,
    stop: asyncio.Event,
    serving: Callable[[], None],
    drain_timeout_s: float,
    worker_timeout_s: float,
) -> None:
    """Run `count` workers until `stop` is set; call `serving` when all of them serve.

    `worker_timeout_s` is the time after which a worker without a sign of life is killed. Raises WorkerError or
    OutOfReachError if a worker cannot start, and WorkerError if it does not end properly.
    """
    workers = [Worker(number, observer, worker_timeout_s) for number in range(1, count + 1)]
    work, stopped = asyncio.create_task(_run_workers(workers, serving)), asyncio.create_task(stop.wait())
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


async def _run_workers(workers: Sequence[Worker], serving: Callable[[], None]) -> None:
    """Start the workers and keep them running until this task is cancelled."""
    await _run_all([_start_first(worker) for worker in workers])
    serving()
    await _run_all([_restart_when_ended(worker) for worker in workers])


async def _run_all(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all concurrently. The first failure cancels the others and is raised."""
    tasks = [asyncio.create_task(work) for work in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _start_first(worker: Worker) -> None:
    """Start a worker for the first time; retry if it is killed meanwhile, for example by the OOM killer.

    Raises WorkerLostError if all attempts fail.
    """
    pause_s = RESTART_S[0]
    for left in reversed(range(FIRST_STARTS)):
        try:
            await worker.start()
        except WorkerLostError as error:
            if not left:
                raise
            structlog.get_logger().warning("worker_start_failed", worker=worker.number, reason=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_S[1])
        else:
            return


async def _restart_when_ended(worker: Worker) -> None:
    log, pause_s = structlog.get_logger(), RESTART_S[0]
    while True:
        began = time.monotonic()
        log.error("worker_exited", worker=worker.number, status=await worker.ended())
        if time.monotonic() > began + STEADY_S:
            pause_s = RESTART_S[0]
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_S[1])
            try:
                await worker.start()
            except (OperatorError, OSError) as error:
                log.warning("worker_start_failed", worker=worker.number, reason=str(error))
            else:
                break
        log.info("worker_restarted", worker=worker.number)
