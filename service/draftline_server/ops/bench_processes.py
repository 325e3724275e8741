"""The processes of a benchmark: servers, and what puts load on them.

Each is a child that dies with us, whatever way we end.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .postgres_child import SAME, last_lines, spawn

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
LOAD_PROCESSES = 2
LOAD_START_S = 1.5


class BenchError(Exception):
    """A server or a load failed; the text ends with what it said last."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a load process does."""

    kind: str  # empty, patch or import
    address: str
    tenant_id: str
    collection: str
    records: int
    concurrency: int
    seconds: float
    start_at: float = 0.0  # Unix time
    seed: int = 0
    request_ids: bool = True  # of patches


@dataclass(frozen=True, slots=True)
class Timing:
    """Calls a second, and how long they took: latencies in order, in seconds."""

    rate: float
    latencies_s: Sequence[float]

    def percentile_s(self, percent: int) -> float:
        """The nearest rank."""
        return self.latencies_s[max(0, math.ceil(len(self.latencies_s) * percent / 100) - 1)]


@dataclass(frozen=True, slots=True)
class Served:
    """A server in a process of its own."""

    address: str
    process_id: int

    def memory_mib(self) -> float:
        """What it holds in memory; NaN where the system does not tell."""
        try:
            status = Path(f"/proc/{self.process_id}/status").read_text()
        except OSError:
            return math.nan
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024


@contextmanager
def serving(home: Path, url: str, **settings: object) -> Iterator[Served]:
    """A server with these settings, named as in the environment and in small letters."""
    given = {
        "database_url": url,
        "port": 0,
        "metrics_port": 0,
        "log_format": "json",
        "drain_timeout_s": 1,
        # All of a load goes over few connections.
        "max_streams_per_connection": 10_000,
        **settings,
    }
    with tempfile.NamedTemporaryFile(dir=home, suffix=".log") as log:
        variables = [f"DRAFTLINE_{name.upper()}={value}" for name, value in given.items()]
        process = _spawn(home, log, *variables, sys.executable, "-m", "draftline_server", "serve")
        try:
            yield Served(_address(process, Path(log.name)), process.pid)
        finally:
            _end(process)


def measured(home: Path, load: Load) -> Timing:
    """Puts the load on from several processes at once. BenchError if a call fails."""
    count = min(LOAD_PROCESSES, load.concurrency)
    start_at = time.time() + LOAD_START_S
    shares = [
        replace(load, concurrency=load.concurrency // count, start_at=start_at, seed=seed) for seed in range(count)
    ]
    outcomes = _outcomes(home, shares)
    latencies = sorted(latency for outcome in outcomes for latency in outcome["latencies_s"])
    if not latencies:
        raise BenchError(f"no call ended within {load.seconds:g} s")
    return Timing(sum(outcome["calls"] for outcome in outcomes) / load.seconds, latencies)


def import_rate(home: Path, load: Load) -> float:
    """Imports from one process: records a second."""
    return float(_outcomes(home, [load])[0]["rate"])


def _outcomes(home: Path, loads: Sequence[Load]) -> list[dict[str, Any]]:
    processes = []
    try:
        for load in loads:
            command = (sys.executable, "-m", "draftline_server.ops.bench_load", json.dumps(asdict(load)))
            processes.append(_spawn(home, subprocess.PIPE, *command))
        outputs = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            _end(process)
    for process, output in zip(processes, outputs, strict=True):
        if process.returncode != 0:
            raise BenchError(f"a load process failed:\n{last_lines(output)}")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def _spawn(home: Path, output: Any, *command: str) -> subprocess.Popen[bytes]:
    env = shutil.which("env") or "/usr/bin/env"
    return spawn(SAME, home, output, Path(env), *command)


def _address(process: subprocess.Popen[bytes], log_path: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        lines = log_path.read_text().splitlines()
        for entry in (json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")):
            if entry["event"] == "serving":
                return str(entry["address"])
        time.sleep(0.02)
    raise BenchError(f"the server did not start:\n{last_lines(log_path.read_bytes())}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
