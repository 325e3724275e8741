"""Rate-limited wake-up signals for the watchers of a tenant's change log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SPACING_S = 0.005  # between two wake-ups of a tenant; what is written in between is read together


class ChangeSignal:
    """The numbered wake-ups of one tenant: a watcher that has seen number `count` waits for the next one."""

    def __init__(self) -> None:
        self.count = 0
        self.watchers = 0
        self.closed = False
        self._event = asyncio.Event()
        self._timer: asyncio.Handle | None = None
        self._due = 0.0  # the time on the loop's clock when the timer fires
        self._last = 0.0

    def wake(self, delay_s: float = 0.0) -> None:
        """Wake all watchers after the delay, but no sooner than SPACING_S after the last wake-up."""
        loop = asyncio.get_running_loop()
        due = max(loop.time() + delay_s, self._last + SPACING_S)
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        if due <= loop.time():
            self._fire()
        else:
            self._due = due
            self._timer = loop.call_at(due, self._fire)

    def close(self) -> None:
        self.closed = True
        self.drop()
        self._fire()

    def drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def wait_after(self, count: int, timeout_s: float) -> bool:
        """Wait up to `timeout_s` for wake-up `count` + 1 or the close; return True if either has happened."""
        if self.count > count or self.closed:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        return self.count > count or self.closed

    def _fire(self) -> None:
        self._timer = None
        self._last = asyncio.get_running_loop().time()
        self.count += 1
        self._event.set()
        self._event = asyncio.Event()


class ChangeSignals:
    """The signals of all tenants that are watched in this process."""

    def __init__(self) -> None:
        self._tenants: dict[str, ChangeSignal] = {}
        self._closed = False

    @contextmanager
    def watching(self, tenant_id: str) -> Iterator[ChangeSignal]:
        signal = self._tenants.setdefault(tenant_id, ChangeSignal())
        signal.watchers += 1
        if self._closed:
            signal.close()
        try:
            yield signal
        finally:
            signal.watchers -= 1
            if not signal.watchers:
                signal.drop()
                del self._tenants[tenant_id]

    def wake(self, tenant_id: str) -> None:
        signal = self._tenants.get(tenant_id)
        if signal is not None:
            signal.wake()

    def wake_all(self) -> None:
        for signal in self._tenants.values():
            signal.wake()

    def close(self) -> None:
        """End every watch, including those opened later, because the server is stopping."""
        self._closed = True
        for signal in self._tenants.values():
            signal.close()
