"""A service whose standard error nobody reads: it serves, is measured and stops as ever."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import pytest
from draftline import Client
from support.polling import until
from support.server_process import DRAFTLINE, environment
from support.soak_scale import IS_SOAK, length
from support.worker_pool import OWN_CONNECTION

CALLS = length("UNREAD_CALLS", 360, soak=6_000)  # whose lines are several times what a pipe holds
WORKERS = [1, 2] if IS_SOAK else [1]
STOP_S = 30


@contextmanager
def unread(**settings: object) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any], int]]:
    """A service whose log is read until it says that it serves, and no further; and the end to read it at."""
    reading, writing = os.pipe()
    given = {"port": 0, "metrics_port": 0, "log_format": "json", "access_log": "all", **settings}
    process = subprocess.Popen([DRAFTLINE, "serve"], env=environment(**given), stderr=writing)
    os.close(writing)
    try:
        line = b""
        while b'"event": "serving"' not in line:
            line = b""
            while not line.endswith(b"\n"):
                line += os.read(reading, 1)
        yield process, json.loads(line), reading
    finally:
        process.kill()
        process.wait()
        os.close(reading)


def call_often(address: str) -> None:
    for _ in range(6):  # connections, so that every worker has some
        with Client(address, tenant_id="acme", timeout=10, options=OWN_CONNECTION) as client:
            for _ in range(CALLS // 6):
                client.get_merged_page("films")


def asked(port: int, path: str) -> str:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def is_ready(port: int) -> bool:
    try:
        return asked(port, "/readyz") == "ok\n"
    except OSError:  # it does not listen yet, or says that it is not ready
        return False


@pytest.mark.parametrize("workers", WORKERS)
def test_service_goes_on_and_stops_while_nobody_reads_its_log(database_url: str, workers: int) -> None:
    with unread(database_url=database_url, workers=workers) as (process, told, _):
        call_often(told["address"])
        assert asked(told["metrics_port"], "/livez") == "ok\n"
        assert asked(told["metrics_port"], "/readyz") == "ok\n"
        assert "draftline_log_lines_dropped_total" in asked(told["metrics_port"], "/metrics")
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0


def test_service_goes_on_when_who_read_its_log_is_gone(database_url: str) -> None:
    with unread(database_url=database_url) as (process, told, reading):
        os.dup2(os.open(os.devnull, os.O_RDONLY), reading)  # closes the only end to read at
        call_often(told["address"])
        assert asked(told["metrics_port"], "/livez") == "ok\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0


def test_last_words_are_written_before_the_end(database_url: str) -> None:
    with unread(database_url=database_url) as (process, _, reading):
        process.send_signal(signal.SIGTERM)
        rest = b""
        while part := os.read(reading, 1 << 16):
            rest += part
        assert process.wait(STOP_S) == 0
    assert '"draining"' in rest.decode()


@pytest.mark.parametrize(("closed", "workers"), [(">&- 2>&-", 1), ("<&- >&- 2>&-", WORKERS[-1])])
def test_service_without_standard_files_serves_and_stops(database_url: str, closed: str, workers: int) -> None:
    port = free_port()
    settings = {"database_url": database_url, "port": 0, "metrics_port": port, "workers": workers}
    process = subprocess.Popen(["/bin/sh", "-c", f'exec "$0" serve {closed}', DRAFTLINE], env=environment(**settings))
    try:
        until(lambda: is_ready(port), STOP_S)
        # Nothing else has the numbers of the standard files.
        assert {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in (1, 2)} == {os.devnull}
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0
    finally:
        process.kill()
        process.wait()
