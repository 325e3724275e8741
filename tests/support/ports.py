"""Ports for services that are started again on the same one."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def unused_port() -> int:
    """Return a port that the system does not give to other sockets while it is not listened on."""
    while True:
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            return int(tried.getsockname()[1])
