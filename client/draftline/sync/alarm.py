"""Cuts off what waits too long, where gRPC's blocking streams have no way to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from weakref import WeakMethod


class Alarm:
    """A `with` block that rings when it takes longer than `after_s` seconds. One thread for any number of blocks.

    It may ring once more just after the end of a block.
    """

    def __init__(self, after_s: float, ring: Callable[[], object]) -> None:
        """`ring`: a method, called from the alarm's thread. Its owner is held weakly; the thread ends with it."""
        self._after_s = after_s
        self._ring = WeakMethod(ring)
        self._due: float | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._wait, name="draftline-alarm", daemon=True).start()

    def __enter__(self) -> None:
        # The thread looks at least once in `after_s`, so it need not be woken for this.
        self._due = time.monotonic() + self._after_s

    def __exit__(self, *_: object) -> None:
        self._due = None

    def stop(self) -> None:
        self._stopped.set()

    def _wait(self) -> None:
        pause_s = self._after_s
        while not self._stopped.wait(pause_s):
            ring, due = self._ring(), self._due
            if ring is None:
                return
            pause_s = self._after_s if due is None else due - time.monotonic()
            if pause_s <= 0:
                pause_s = self._after_s
                ring()
            del ring
