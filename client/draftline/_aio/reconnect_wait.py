"""Pauses between attempts."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class ReconnectWait:
    """The pauses of all tasks that use one channel. grpc.aio reconnects during them by itself."""

    async def wait(self, pause_s: float, closed: asyncio.Event | None = None) -> None:
        """Wait for `pause_s` seconds, or until `closed` is set."""
        if closed is None:
            await asyncio.sleep(pause_s)
        else:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(closed.wait(), pause_s)

    def wake(self) -> None:
        """Do nothing: setting the event wakes its waiters."""
