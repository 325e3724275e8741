"""Load generation by separate processes that live as long as the benchmark; `load_process` is what they run."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from draftline_server.embedded_postgres.process import last_lines

from .processes import BenchError, end_process, start_process

ROOT = Path(__file__).parents[1]
PROCESSES = 2
PREPARED_PER_S = 3_000
PREPARED_BYTES = 8 << 20
LEAD_S = 0.05  # from when all are ready to the first call, so that they start together


@dataclass(frozen=True, slots=True)
class Load:
    """The load that a load process generates."""

    kind: str  # a name in load_process.CALLS or load_process.ONCE
    address: str = ""
    url: str = ""  # of the database, for loads that bypass the service
    token: str = ""
    tenant_id: str = ""
    collection: str = ""
    records: int = 0  # that exist, or are to be imported
    concurrency: int = 1
    connections: int = 1  # of each process
    seconds: float = 0.0
    warm_up_s: float = 0.0
    seed: str = ""
    request_ids: bool = True  # of patches
    grouped: int = 1  # patches in a statement, for loads that bypass the service

    @property
    def prepared(self) -> int:
        """The number of requests to create in advance, so that creating them is not measured."""
        return round(PREPARED_PER_S * (self.warm_up_s + self.seconds) / self.grouped)

    def of_kind(self, kind: str) -> Load:
        return replace(self, kind=kind)


def metadata_of(load: Load) -> Sequence[tuple[str, str]] | None:
    """Return the metadata of the calls of a load."""
    return (("authorization", f"Bearer {load.token}"),) if load.token else None


def prepared(requests: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Return the same requests, with the first `count` (up to PREPARED_BYTES) created ahead of the measurement."""
    made: list[bytes] = []
    size_bytes = 0
    while len(made) < count and size_bytes < PREPARED_BYTES:
        made.append(next(requests))
        size_bytes += len(made[-1])
    return itertools.chain(made, requests)


@dataclass(frozen=True, slots=True)
class Timing:
    """Completed calls and their latencies, in seconds."""

    calls: int
    seconds: float
    latencies_s: Sequence[float]
    cpu_s: float  # processor time of the load itself
    cpu_used_s: Mapping[str, float] = field(
        default_factory=dict
    )  # processor time of other processes meanwhile, by name

    @property
    def rate(self) -> float:
        return self.calls / self.seconds


class LoadGenerators:
    """The load processes. Methods raise BenchError if a call fails or a process ends."""

    def __init__(self, home: Path, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._home = home
        self._processes = processes

    def run(
        self, load: Load, cpu_used_s: Callable[[], Mapping[str, float]] = dict, processes: int = PROCESSES
    ) -> Timing:
        """Generate load from this many processes at once, or from one process if the concurrency is 1.

        `cpu_used_s` returns the processor time of other processes so far; it is called at the start and the end of the
        measured time.
        """
        count = min(len(self._processes), load.concurrency, processes)
        for number, process in enumerate(self._processes[:count]):
            share = load.concurrency // count + (number < load.concurrency % count)
            self._order(process, asdict(replace(load, concurrency=share, seed=f"{number} {time.time()}")))
        for process in self._processes[:count]:
            self._outcome(process)  # it is ready
        start_at = time.perf_counter() + LEAD_S + load.warm_up_s
        for process in self._processes[:count]:
            self._order(process, {"start_at": start_at})
        time.sleep(max(0.0, start_at - time.perf_counter()))
        before = cpu_used_s()
        time.sleep(max(0.0, start_at + load.seconds - time.perf_counter()))
        after = cpu_used_s()
        outcomes = [self._outcome(process) for process in self._processes[:count]]
        latencies_s = [latency for outcome in outcomes for latency in outcome["latencies_s"]]
        if not latencies_s:
            raise BenchError(f"{load.kind}: no call ended within {load.seconds:g} s")
        calls, cpu_s = (sum(outcome[name] for outcome in outcomes) for name in ("calls", "cpu_s"))
        return Timing(calls, load.seconds, latencies_s, cpu_s, {name: after[name] - before[name] for name in after})

    def run_once(self, load: Load) -> Mapping[str, Any]:
        """Run one long operation in one process, and return its outcome."""
        self._order(self._processes[0], asdict(load))
        return self._outcome(self._processes[0])

    @staticmethod
    def _order(process: subprocess.Popen[bytes], order: Mapping[str, Any]) -> None:
        assert process.stdin is not None  # noqa: S101 - for mypy
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            raise BenchError("a load process is gone") from None

    @staticmethod
    def _outcome(process: subprocess.Popen[bytes]) -> Mapping[str, Any]:
        assert process.stdout is not None  # noqa: S101 - for mypy
        said = b""
        for line in process.stdout:
            if line.startswith(b"{"):
                outcome: Mapping[str, Any] = json.loads(line)
                return outcome
            said += line
        raise BenchError(f"a load process failed:\n{last_lines(said)}")


@contextmanager
def load_generators(home: Path, count: int = PROCESSES) -> Iterator[LoadGenerators]:
    """Start load processes, and end them at the end of the block."""
    command = (f"PYTHONPATH={ROOT}", sys.executable, "-m", "bench.load_process")
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            processes.append(start_process(home, subprocess.PIPE, *command, stdin=subprocess.PIPE))
        yield LoadGenerators(home, processes)
    finally:
        for process in processes:
            end_process(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
