"""One worker process of a supervisor: started, listened to, and ended.

A worker writes a line to its standard output for every beat of its event loop, and one when it serves or cannot. One
that is silent for too long is stopped or hangs, while the kernel still gives it its share of new connections: it is
killed, which closes its socket, and it ends as any other that ends by itself.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Any, Protocol, cast

import structlog

from ..domain.errors import OperatorError, OutOfReachError

BEAT_S = 0.5  # between two signs of life of a worker
FIRST_BEAT_S = 60.0  # a worker may take so long until its event loop runs
STOPPED = (0, -signal.SIGTERM)  # the latter of one that did not serve yet


class WorkerError(OperatorError):
    """A worker cannot be started, or did not end; the text says why."""


class WorkerLostError(WorkerError):
    """A worker ended before it served, without saying why: killed, or by a bug. It may start the next time."""


class Orders(Protocol):
    """What workers are told, and who wants to know of them."""

    def began(self, worker: int, start: int) -> bytes:
        """Return the line that a worker is told on its standard input, at its first start, its second..."""

    def ended(self, worker: int, start: int) -> None:
        """Take note that the worker of that start is gone."""

    def hung(self, worker: int, start: int) -> None:
        """Take note that the worker of that start is killed because it gave no sign of life."""


class Worker:
    """One of the processes, or the one that took its place."""

    def __init__(self, number: int, orders: Orders, timeout_s: float) -> None:
        """`timeout_s`: how long it may give no sign of life."""
        self.number = number
        self._orders = orders
        self._timeout_s = timeout_s
        self._starts = 0
        self._told_of = 0  # the last start whose end the orders were told of
        self._process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._beats = 0  # lines that came from the process that runs now

    async def start(self) -> None:
        """Start it; return when it serves.

        Raises WorkerError or OutOfReachError in the worker's own words, WorkerLostError if it ends without any.
        """
        order = self._orders.began(self.number, self._starts + 1)
        self._starts += 1
        # In a session of its own: a Ctrl-C in the terminal reaches the supervisor alone.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "draftline_server.processes.worker",
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
        )
        self._process, self._beats = process, 0
        said: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        source = cast(asyncio.StreamReader, process.stdout)
        self._tasks = [asyncio.create_task(self._listen(source, said)), asyncio.create_task(self._watch(process))]
        sink = cast(asyncio.StreamWriter, process.stdin)
        # RuntimeError: uvloop's, for a pipe that is closed. The process has ended then, and this is told below.
        with suppress(ConnectionError, RuntimeError):
            sink.write(order + b"\n")
            await sink.drain()
        answer = await said
        if not answer:
            raise WorkerLostError(f"{await self.ended()}; its log says why")
        for kind, error in (("problem", WorkerError), ("out_of_reach", OutOfReachError)):
            if kind in answer:
                await self.ended()
                raise error(answer[kind])

    async def _listen(self, source: asyncio.StreamReader, said: asyncio.Future[dict[str, Any]]) -> None:
        """Count lines; `said` is the first that is no beat, or empty if there is none."""
        while line := await source.readline():
            self._beats += 1
            if line.strip() and not said.done():
                said.set_result(json.loads(line))
        if not said.done():
            said.set_result({})

    async def _watch(self, process: Process) -> None:
        """Kill the process once it is silent for too long.

        Silence is counted in our own beats, and not by a clock: a supervisor that was stopped itself, or a machine
        that was suspended, is no reason to kill anybody.
        """
        silent_s, start = 0.0, self._starts
        while process.returncode is None:
            heard = self._beats
            await asyncio.sleep(BEAT_S)
            silent_s = silent_s + BEAT_S if self._beats == heard else 0.0
            if silent_s >= (self._timeout_s if self._beats else max(FIRST_BEAT_S, self._timeout_s)):
                self._orders.hung(self.number, start)
                structlog.get_logger().error(
                    "worker_hung", worker=self.number, silent_s=silent_s,
                    reason="it gave no sign of life, and is killed and started again",
                )  # fmt: skip
                process.kill()
                return

    async def ended(self) -> str:
        """Wait for its end; return it in words."""
        if self._process is None:
            return "it was not started"
        status = await self._process.wait()
        for task in self._tasks:
            task.cancel()
        if self._told_of != self._starts:
            self._told_of = self._starts
            self._orders.ended(self.number, self._starts)
        told = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return f"worker {self.number} ended {told}"

    async def end(self, grace_s: float) -> None:
        """Let its calls end. Raises WorkerError if that takes too long, and it is killed, or if it ends otherwise."""
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
