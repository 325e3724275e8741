"""A service in a process of its own, on a temporary embedded PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import IO, Any

from draftline import AsyncClient, Client

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
LOG_LINES = 200


class Service:
    """A running service.

    Attributes:
        address: the `host:port` that it listens on, without TLS and without authentication.
    """

    def __init__(self, address: str, log: deque[str]) -> None:
        self.address = address
        self._log = log

    @property
    def log(self) -> list[str]:
        """The last lines that the service logged, as JSON."""
        return list(self._log)

    def client(self, *, tenant_id: str | None = None, user: str = "test", **options: Any) -> Client:
        """Return a blocking client; of a new tenant if none is given.

        with service.client(user="ada") as ada:
            ada.create_content("movies", {"Title": "Alien"})
        """
        return Client(self.address, tenant_id=tenant_id or new_tenant(), user=user, **options)

    def async_client(self, *, tenant_id: str | None = None, user: str = "test", **options: Any) -> AsyncClient:
        """Return a client for asyncio; of a new tenant if none is given.

        async with service.async_client(user="ada") as ada:
            await ada.create_content("movies", {"Title": "Alien"})
        """
        return AsyncClient(self.address, tenant_id=tenant_id or new_tenant(), user=user, **options)


def new_tenant() -> str:
    """Return the id of a tenant without data."""
    return f"test-{uuid.uuid4()}"


@contextmanager
def serving(**settings: object) -> Iterator[Service]:
    """Start a service, and stop it and delete its data at the end of the block.

        with draftline.testing.serving(max_content_bytes=2_000_000) as service:
            print(service.address)

    Args:
        settings: settings of the service by their names without `DRAFTLINE_`, in lower case. Variables of
            the environment that begin with `DRAFTLINE_`, and draftline.toml, are ignored.

    Raises:
        RuntimeError: the service is not installed, a setting is wrong or unknown, or the service did not start; the
            message has the end of its log.
    """
    if find_spec("draftline_server") is None:
        raise RuntimeError("the service is not installed: install draftline[testing]")
    process = subprocess.Popen(  # noqa: S603  the same interpreter
        [sys.executable, "-m", "draftline_server", f"--config={os.devnull}", "serve", *_flags(settings)],
        env={name: value for name, value in os.environ.items() if not name.upper().startswith("DRAFTLINE_")},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log: deque[str] = deque(maxlen=LOG_LINES)
    try:
        yield Service(_address(process, log), log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _flags(settings: dict[str, object]) -> list[str]:
    given = {
        "port": 0,
        "metrics_port": "",
        "access_log": "none",
        "drain_timeout_s": 2,
        **settings,
        "log_format": "json",
    }
    fixed = ["--temporary", f"--stop-with={os.getpid()}"]
    return fixed + [f"--{name.lower().replace('_', '-')}={value}" for name, value in given.items()]


def _address(process: subprocess.Popen[str], log: deque[str]) -> str:
    """Wait until the service serves, and return its address. From then on a thread reads its log."""
    stream: IO[str] | None = process.stderr
    assert stream is not None  # noqa: S101
    alarm = threading.Timer(START_TIMEOUT_S, process.kill)
    alarm.start()
    try:
        for line in stream:
            log.append(line.rstrip("\n"))
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "serving":
                threading.Thread(target=_read, args=(stream, log), daemon=True).start()
                return str(event["address"])
    finally:
        alarm.cancel()
    raise RuntimeError("the service did not start:\n" + "\n".join(log))


def _read(stream: IO[str], log: deque[str]) -> None:
    for line in stream:
        log.append(line.rstrip("\n"))
