"""The configuration that a supervisor sends to a worker process over its standard input."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ..settings import Settings

READ_BYTES = 64 * 1024


def config_line(settings: Settings, url: str, revision: str, worker: int, metrics_socket: Path | None) -> bytes:
    """Return the configuration of a worker as one line.

    It is sent over standard input, because other users may be able to read environments and arguments.
    """
    config = {
        "settings": settings.model_dump(mode="json"),
        "url": url,
        "revision": revision,
        "worker": worker,
        "metrics_socket": None if metrics_socket is None else str(metrics_socket),
    }
    return json.dumps(config).encode()


def read_config() -> dict[str, Any]:
    """Return the configuration that `config_line` wrote; wait for it."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, READ_BYTES) or sys.exit(
            "this program is started by `draftline serve --workers`; do not run it directly"
        )
    config: dict[str, Any] = json.loads(line)
    return config
