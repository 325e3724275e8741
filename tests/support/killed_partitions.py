"""Run `draftline partitions` in this process, which dies before its n-th statement as by SIGKILL.

python killed_partitions.py N COMMAND OPTIONS
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import asyncpg
from draftline_server.cli import main

METHODS = ("execute", "fetch", "fetchval", "fetchrow")
left = int(sys.argv[1])


def counted(method: Callable[..., Any]) -> Callable[..., Any]:
    async def run(*arguments: Any, **options: Any) -> Any:
        global left  # noqa: PLW0603
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return await method(*arguments, **options)

    return run


if __name__ == "__main__":
    for name in METHODS:
        setattr(asyncpg.Connection, name, counted(getattr(asyncpg.Connection, name)))
    main(["partitions", *sys.argv[2:]])
