"""A worker process of `draftline serve --workers`, configured over standard input (see processes/supervisor.py)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

from ..domain.errors import OperatorError, OutOfReachError
from ..observability import logs
from ..settings import Settings
from .single import serve
from .worker_process import BEAT_S

READ_BYTES = 64 * 1024
EXPECTED = (OperatorError, OSError, ValueError)


def order(settings: Settings, url: str, revision: str, worker: int, metrics_socket: Path | None) -> bytes:
    """Return the configuration of a worker as one line.

    It is sent over standard input, because other users may be able to read environments and arguments.
    """
    told = {
        "settings": settings.model_dump(mode="json"),
        "url": url,
        "revision": revision,
        "worker": worker,
        "metrics_socket": None if metrics_socket is None else str(metrics_socket),
    }
    return json.dumps(told).encode()


def _tell(**said: str) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def _read_order() -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, READ_BYTES) or sys.exit(
            "this is a process of `draftline serve --workers`, and not run by hand"
        )
    told: dict[str, Any] = json.loads(line)
    return told


def _end_with_supervisor() -> None:
    os.read(0, READ_BYTES)  # returns only at the end of the input
    os._exit(1)


async def _beating(work: Awaitable[None]) -> None:
    """Run the work, and write an empty line at intervals as a sign that the event loop is running."""
    beating = asyncio.create_task(_beat(), name="beat")
    try:
        await work
    finally:
        beating.cancel()


async def _beat() -> None:
    while True:
        os.set_blocking(1, False)  # a stopped supervisor does not read; it must not block its workers
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(1, b"\n")
        os.set_blocking(1, True)
        await asyncio.sleep(BEAT_S)


def main() -> None:
    told = _read_order()
    threading.Thread(target=_end_with_supervisor, name="lifeline", daemon=True).start()
    settings, worker = Settings(**told["settings"]), told["worker"]
    socket = None if told["metrics_socket"] is None else Path(told["metrics_socket"])
    logs.configure_queued(settings.log.format, settings.log.level, worker=worker)
    serving = serve(
        settings, told["url"], told["revision"],
        serving=lambda _: _tell(state="serving"), worker=worker, metrics_socket=socket,
    )  # fmt: skip
    try:
        uvloop.run(_beating(serving))
    except OutOfReachError as error:
        _tell(out_of_reach=str(error))
        sys.exit(1)
    except EXPECTED as error:
        _tell(problem=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
