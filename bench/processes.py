"""The processes of a benchmark, and the processor time and memory of servers and PostgreSQL.

Each process is a child that dies with this one, however this one ends.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from draftline_server.domain.errors import OperatorError
from draftline_server.embedded_postgres.process import SAME, last_lines, spawn

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0


class BenchError(OperatorError):
    """A server or a load failed; the message ends with its last output."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a separate process."""

    address: str
    process_id: int

    def memory_mib(self) -> float:
        """Return the resident memory; NaN if the system does not report it."""
        return _memory_mib(self.process_id, "VmRSS:")

    def peak_memory_mib(self) -> float:
        """Return the peak resident memory since `forget_peak`; NaN if the system does not report it."""
        return _memory_mib(self.process_id, "VmHWM:")

    def forget_peak(self) -> None:
        with suppress(OSError):
            Path(f"/proc/{self.process_id}/clear_refs").write_text("5")

    def cpu_s(self) -> float:
        """Return the user and system processor time so far; NaN if the system does not report it."""
        return _cpu_s(self.process_id)


def children_cpu_s(process_id: int) -> float:
    """Return the processor time of a process and its children, including ended ones."""
    total = _cpu_s(process_id, with_ended=True)
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == process_id:
                total += _cpu_of(fields)
    return total


def _cpu_s(process_id: int, *, with_ended: bool = False) -> float:
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.nan
    return _cpu_of(fields, with_ended=with_ended)


def _cpu_of(fields: list[str], *, with_ended: bool = False) -> float:
    """Return the processor time from proc_pid_stat(5); `fields` begin with the third field, after the name.

    This is utime and stime and, with `with_ended`, cutime and cstime.
    """
    return sum(map(int, fields[11 : 15 if with_ended else 13])) / os.sysconf("SC_CLK_TCK")


def _memory_mib(process_id: int, name: str) -> float:
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return math.nan
    (line,) = [line for line in status.splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024


@contextmanager
def run_server(home: Path, url: str, **settings: object) -> Iterator[Server]:
    """Run a server with these settings, named as in the environment but in lower case and without the prefix."""
    own = {"port": 0, "access_log": "notable", "drain_timeout_s": 1}
    with _running(home, url, "serve", "serving", {**own, **settings}) as (process, started):
        yield Server(str(started["address"]), process.pid)


@contextmanager
def run_sync_workers(home: Path, url: str, **settings: object) -> Iterator[Server]:
    """Run a process of the workers of syncs; it has no address."""
    with _running(home, url, "sync", "sync_workers_started", settings) as (process, _):
        yield Server("", process.pid)


@contextmanager
def _running(
    home: Path, url: str, command: str, event: str, settings: Mapping[str, object]
) -> Iterator[tuple[subprocess.Popen[bytes], Mapping[str, object]]]:
    """Run a command of the service, and yield its process and the log entry of this event, by which it has started."""
    given = {"database_url": url, "metrics_port": 0, "log_format": "json", **settings}
    with tempfile.NamedTemporaryFile(dir=home, suffix=".log") as log:
        variables = [f"DRAFTLINE_{name.upper()}={value}" for name, value in given.items()]
        process = start_process(home, log, *variables, sys.executable, "-m", "draftline_server", command)
        try:
            yield process, _started(process, Path(log.name), event)
        finally:
            end_process(process)


def start_process(home: Path, output: Any, *command: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start a child process; `command` may begin with environment variables."""
    env = shutil.which("env") or "/usr/bin/env"
    return spawn(SAME, home, output, Path(env), *command, stdin=stdin)


def end_process(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _started(process: subprocess.Popen[bytes], log_path: Path, event: str) -> Mapping[str, object]:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        lines = log_path.read_text().splitlines()
        for entry in (json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")):
            if entry["event"] == event:
                found: Mapping[str, object] = entry
                return found
        time.sleep(0.02)
    raise BenchError(f"the process did not start:\n{last_lines(log_path.read_bytes())}")
