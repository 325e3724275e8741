"""One worker process of a supervisor: its start, heartbeats and end.

A worker writes a line to its standard output for each heartbeat of its event loop, and one line when it serves or
cannot serve. A worker that is silent for too long is stopped or hangs, while the kernel still gives it its share of
new connections. It is killed, which closes its socket, and its end is handled like any other.
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

BEAT_S = 0.5  # between two heartbeats of a worker
FIRST_BEAT_S = 60.0  # the time that a worker may take until its event loop runs
STOPPED = (0, -signal.SIGTERM)  # the signal ends a worker that does not serve yet


class WorkerError(OperatorError):
    """A worker could not be started or did not end properly. The message gives the reason."""


class WorkerLostError(WorkerError):
    """A worker ended before it served without reporting a reason: it was killed, or has a bug. A retry may succeed."""


class WorkerObserver(Protocol):
    """The source of workers' configuration and the observer of their starts and ends."""

    def started(self, worker: int, start: int) -> bytes:
        """Return the configuration line for a worker's standard input. `start` counts its starts from 1."""

    def ended(self, worker: int, start: int) -> None:
        """Record that the worker of that start has ended."""

    def hung(self, worker: int, start: int) -> None:
        """Record that the worker of that start is killed because it gave no sign of life."""


class Worker:
    """A numbered worker: its current process, or the process that replaces it."""

    def __init__(self, number: int, observer: WorkerObserver, timeout_s: float) -> None:
        """Create a worker without a process. It is killed after `timeout_s` without a heartbeat."""
        self.number = number
        self._observer = observer
        self._timeout_s = timeout_s
        self._starts = 0
        self._last_reported_end = 0  # the last start with an end reported to `observer`
        self._process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._beats = 0  # lines received from the current process

    async def start(self) -> None:
        """Start the process and wait until it serves.

        Raises WorkerError or OutOfReachError with the reason that the worker reported, or WorkerLostError if it ends
        without reporting one.
        """
        config_line = self._observer.started(self.number, self._starts + 1)
        self._starts += 1
        # In a new session, so that a Ctrl-C in the terminal reaches only the supervisor.
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
        report: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        source = cast(asyncio.StreamReader, process.stdout)
        self._tasks = [asyncio.create_task(self._listen(source, report)), asyncio.create_task(self._watch(process))]
        sink = cast(asyncio.StreamWriter, process.stdin)
        # uvloop raises RuntimeError for a closed pipe. The process has then ended, which is reported below.
        with suppress(ConnectionError, RuntimeError):
            sink.write(config_line + b"\n")
            await sink.drain()
        outcome = await report
        if not outcome:
            raise WorkerLostError(f"{await self.ended()}; see its log for the reason")
        if "problem" in outcome:
            await self.ended()
            raise WorkerError(outcome["problem"])
        if "out_of_reach" in outcome:
            await self.ended()
            raise OutOfReachError(outcome["out_of_reach"], outcome["fix"])

    async def _listen(self, source: asyncio.StreamReader, report: asyncio.Future[dict[str, Any]]) -> None:
        """Count the lines. Set `report` to the first that is not a heartbeat, or to an empty dict if there is none."""
        while line := await source.readline():
            self._beats += 1
            if line.strip() and not report.done():
                report.set_result(json.loads(line))
        if not report.done():
            report.set_result({})

    async def _watch(self, process: Process) -> None:
        """Kill the process once it is silent for too long.

        Silence is measured in the supervisor's own intervals, not by a clock: workers must not be killed because the
        supervisor was stopped or the machine was suspended.
        """
        silent_s, start = 0.0, self._starts
        while process.returncode is None:
            beats = self._beats
            await asyncio.sleep(BEAT_S)
            silent_s = silent_s + BEAT_S if self._beats == beats else 0.0
            if silent_s >= (self._timeout_s if self._beats else max(FIRST_BEAT_S, self._timeout_s)):
                self._observer.hung(self.number, start)
                structlog.get_logger().error(
                    "worker_hung", worker=self.number, silent_s=silent_s,
                    reason="the worker did not respond and is being restarted",
                )  # fmt: skip
                process.kill()
                return

    async def ended(self) -> str:
        """Wait until the process ends; return a description of its end."""
        if self._process is None:
            return "it was not started"
        status = await self._process.wait()
        for task in self._tasks:
            task.cancel()
        if self._last_reported_end != self._starts:
            self._last_reported_end = self._starts
            self._observer.ended(self.number, self._starts)
        cause = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return f"worker {self.number} ended {cause}"

    async def end(self, grace_s: float) -> None:
        """End the process after its calls have finished.

        Raises WorkerError if this takes longer than `grace_s`, after which it is killed, or if it ends abnormally.
        """
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                description = await self.ended()
        except TimeoutError:
            process.kill()
            await self.ended()
            raise WorkerError(f"worker {self.number} did not end within {grace_s:g} s and was killed") from None
        if process.returncode not in STOPPED:
            raise WorkerError(description)
