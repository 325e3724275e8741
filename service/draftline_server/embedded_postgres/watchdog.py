"""Restart a server that ends by itself, as PostgreSQL does when a full disk stops its recovery."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Protocol

import structlog

LOG_CHECK_S = 30.0
CHECK_S = 0.1
RESTART_S = (0.2, 2.0)  # the first and the longest pause between restarts


class Kept(Protocol):
    """A server to keep running; its methods are called from the keeper's thread."""

    @property
    def pid(self) -> int | None:
        """The process id, or None if the server has ended."""

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""

    def start_again(self) -> None:
        """Start the server without waiting until it is ready. Raises OSError if it cannot be started."""

    def trim_log(self) -> None:
        """Rotate the server's log if it is too long."""


class Keeper:
    """A thread that monitors and restarts a server until `stop`.

    The death signal of a server that it starts fires when the thread ends: at `stop`, or when this process ends.
    """

    def __init__(self, server: Kept) -> None:
        self._server = server
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="postgres-keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _keep(self) -> None:
        trimmed_at = time.monotonic()
        while not self._stopping.wait(CHECK_S):
            if self._server.pid is None:
                self._bring_back()
            elif time.monotonic() > trimmed_at + LOG_CHECK_S:
                trimmed_at = time.monotonic()
                self._server.trim_log()

    def _bring_back(self) -> None:
        """Restart the server, and return when it accepts connections or the keeper stops."""
        log, pause_s = structlog.get_logger(), RESTART_S[0]
        log.error("postgres_exited")
        while not self._server.is_ready():
            wait_s = CHECK_S
            if self._server.pid is None:
                with contextlib.suppress(OSError):
                    self._server.start_again()
                wait_s, pause_s = pause_s, min(2 * pause_s, RESTART_S[1])
            if self._stopping.wait(wait_s):
                return
        log.info("postgres_restarted")
