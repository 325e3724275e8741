"""Processes of sync workers, which can be killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from support.server_process import DRAFTLINE, environment

MUTATED = str(Path(__file__).parent / "mutated_worker.py")


class Workers:
    """Processes that run `draftline sync`. `log`: a file for what they log; None: nowhere."""

    def __init__(self, mutation: str = "", log: Path | None = None, **settings: object) -> None:
        self._log = log
        self._environment = environment(**settings)
        self._command = [sys.executable, MUTATED, mutation, "sync"] if mutation else [DRAFTLINE, "sync"]
        self._processes: list[subprocess.Popen[bytes]] = []
        self.kills = 0

    def start(self) -> subprocess.Popen[bytes]:
        with open(self._log or os.devnull, "ab") as log:
            process = subprocess.Popen(self._command, env=self._environment, stderr=log)
        self._processes.append(process)
        return process

    async def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        self._processes.remove(process)

    async def kill_one(self) -> None:
        """Kill a worker with SIGKILL and start another."""
        self.kills += 1
        await self.kill(random.choice(self._processes))
        self.start()

    async def stop(self) -> None:
        for process in list(self._processes):
            await self.kill(process)
