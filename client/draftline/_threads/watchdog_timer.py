"""A timeout for the next message of a blocking gRPC stream, which gRPC does not offer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakMethod


class WatchdogTimer:
    """A context manager that calls a function if its block takes longer than `after_s` seconds.

    One thread serves any number of consecutive blocks. It may call the function once just after a block has ended.
    """

    def __init__(self, after_s: float, on_timeout: Callable[[], object]) -> None:
        """Start the timer's thread.

        `on_timeout` is a method and is called from that thread. Its object is held by a weak reference; the thread
        ends when the object is garbage-collected.
        """
        self._after_s = after_s
        self._on_timeout = WeakMethod(on_timeout)
        self._due: float | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._wait, name="draftline-watchdog", daemon=True).start()

    def __enter__(self) -> None:
        # The thread checks at least once per `after_s`, so it need not be woken for this.
        self._due = time.monotonic() + self._after_s

    def __exit__(self, *_: object) -> None:
        self._due = None

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _wait(self) -> None:
        pause_s = self._after_s
        while not self._stopped.wait(pause_s):
            on_timeout, due = self._on_timeout(), self._due
            if on_timeout is None:
                return
            pause_s = self._after_s if due is None else due - time.monotonic()
            if pause_s <= 0:
                pause_s = self._after_s
                on_timeout()
            del on_timeout
