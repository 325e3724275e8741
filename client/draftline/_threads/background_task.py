"""A thread that runs beside the caller's."""

from __future__ import annotations

import threading
from collections.abc import Callable


class BackgroundTask:
    """A function that runs in a daemon thread of its own, at most once."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Without effect if it was started before."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="draftline-reader", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Wait until the function has returned, which its owner must have caused."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
