"""Run `draftline serve` and other commands as a user does, in their own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from draftline_server.cli import main
from draftline_server.embedded_postgres import process as postgres_child
from draftline_server.observability import logs

DRAFTLINE = str(Path(sys.executable).with_name("draftline"))
STOP_S = 60


def environment(**settings: object) -> dict[str, str]:
    """Return the environment of this process with these settings and no others."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DRAFTLINE_")}
    given = {"metrics_port": "", **settings}  # a port that is the same for all would be taken
    return {**own, **{f"DRAFTLINE_{name.upper()}": str(value) for name, value in given.items()}}


def draftline(*arguments: str, stdin: bytes | None = None, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command in its own process."""
    command, environ = [DRAFTLINE, *arguments], environment(**settings)
    done = subprocess.run(command, env=environ, input=stdin, capture_output=True, timeout=120, check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def invoked(*arguments: str, stdin: bytes | None = None, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which saves the second that Python takes to start and import it."""
    others = {name: None for name in os.environ if name.startswith("DRAFTLINE_")}
    # A server of the tests in this process logs as the command is configured, to the command's standard error.
    given = {"metrics_port": "", "log_level": "error", **settings}
    own = {f"DRAFTLINE_{name.upper()}": str(value) for name, value in given.items()}
    done = CliRunner().invoke(main, arguments, input=stdin, env={**others, **own})
    logs.configure("console", "error")  # as it was: the command has logged to a stream that is closed now
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess([DRAFTLINE, *arguments], done.exit_code, done.stdout, done.stderr)


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[str]
    address: str
    log: list[dict[str, Any]]

    def stop(self, number: int) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_S)


@contextmanager
def served(**settings: object) -> Iterator[Served]:
    """Start a service on a free port; at the end of the block, kill it if it still runs."""
    process = subprocess.Popen(
        [DRAFTLINE, "serve"],
        env=environment(**{"port": 0, "log_format": "json", "access_log": "notable", **settings}),
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[dict[str, Any]] = []
    try:
        yield Served(process, _address(process, log), log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def is_left_running(data_dir: Path) -> bool:
    """Return whether a PostgreSQL of this directory still runs."""
    return postgres_child.servers(data_dir / "cluster") != []


def _address(process: subprocess.Popen[str], log: list[dict[str, Any]]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        log.append(json.loads(line) if line.startswith("{") else {"event": line})
        if log[-1]["event"] == "serving":
            address = str(log[-1]["address"])
            threading.Thread(target=lambda: log.extend({"event": rest} for rest in process.stderr), daemon=True).start()
            return address
    raise AssertionError(f"the service did not start: {log}")
