"""Wake-ups for the watchers of this process, and of other processes through the database.

A lost notification loses no change: watchers read again with every heartbeat, and all of them when the connection is
re-established.
"""

from __future__ import annotations

import asyncio
import random

import structlog

from ..store.notifications import Notifications
from .change_signal import ChangeSignals

SPACING_S = 0.02  # between two notifications of other processes
RECONNECT_S = (0.1, 10.0)  # the shortest and the longest pause before a reconnect


class Notifier:
    """A task that runs until it is cancelled, with one connection per process for any number of watchers."""

    def __init__(self, notifications: Notifications, signals: ChangeSignals) -> None:
        self._notifications = notifications
        self._signals = signals
        self._written: set[str] = set()
        self._has_written = asyncio.Event()
        self._lost = False

    def wrote(self, tenant_id: str) -> None:
        """Wake the tenant's watchers, here and in other processes, after a write that may have changed something."""
        self._signals.wake(tenant_id)
        self._written.add(tenant_id)
        self._has_written.set()

    async def run(self) -> None:
        pause_s = RECONNECT_S[0]
        try:
            while True:
                try:
                    await self._notifications.open(self._signals.wake, self._on_lost)
                    self._lost = False
                    self._signals.wake_all()
                    pause_s = RECONNECT_S[0]
                    await self._notify_others()
                except Exception as error:
                    structlog.get_logger().warning("notification_connection_lost", reason=type(error).__name__)
                self._notifications.close()
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  not for secrets
                pause_s = min(2 * pause_s, RECONNECT_S[1])
        finally:
            self._notifications.close()

    async def _notify_others(self) -> None:
        """Notify other processes until the connection is lost."""
        while not self._lost:
            await self._has_written.wait()
            self._has_written.clear()
            if self._written and not self._lost:
                written, self._written = self._written, set()
                try:
                    await self._notifications.notify(written)
                except Exception:
                    self._written |= written  # they are notified when the connection is re-established
                    raise
            await asyncio.sleep(SPACING_S)

    def _on_lost(self) -> None:
        self._lost = True
        self._has_written.set()
