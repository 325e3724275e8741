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

import uvloop

from ..domain.errors import OperatorError, OutOfReachError
from ..observability import logs
from ..ops.error_output import escape_control_characters
from ..settings import Settings
from .single import serve
from .worker_config import READ_BYTES, read_config
from .worker_process import BEAT_S

EXPECTED = (OperatorError, OSError, ValueError)


def _report(**message: str) -> None:
    sys.stdout.write(json.dumps(message) + "\n")  # noqa: TID251 - the supervisor reads it
    sys.stdout.flush()


def _end_with_supervisor() -> None:
    os.read(0, READ_BYTES)  # returns only at the end of the input
    os._exit(1)


async def _run_with_heartbeat(work: Awaitable[None]) -> None:
    """Run the work, and write an empty line at intervals as a sign that the event loop is running."""
    heartbeat = asyncio.create_task(_beat(), name="beat")
    try:
        await work
    finally:
        heartbeat.cancel()


async def _beat() -> None:
    while True:
        os.set_blocking(1, False)  # a stopped supervisor does not read; it must not block its workers
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(1, b"\n")
        os.set_blocking(1, True)
        await asyncio.sleep(BEAT_S)


def main() -> None:
    escape_control_characters()
    config = read_config()
    threading.Thread(target=_end_with_supervisor, name="lifeline", daemon=True).start()
    settings, worker = Settings(**config["settings"]), config["worker"]
    socket = None if config["metrics_socket"] is None else Path(config["metrics_socket"])
    logs.configure_queued(settings.log.format, settings.log.level, worker=worker)
    serving = serve(
        settings, config["url"], config["revision"],
        serving=lambda _: _report(state="serving"), worker=worker, metrics_socket=socket,
    )  # fmt: skip
    try:
        uvloop.run(_run_with_heartbeat(serving))
    except OutOfReachError as error:
        _report(out_of_reach=str(error), fix=error.advice)
        sys.exit(1)
    except EXPECTED as error:
        _report(problem=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
