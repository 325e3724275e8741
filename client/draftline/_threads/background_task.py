"""A thread that runs beside the caller's."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable


class BackgroundTask:
    """A function that runs in a daemon thread of its own, at most once.

    `abandoned` is called if the function still runs when the interpreter ends.
    """

    def __init__(self, run: Callable[[], None], abandoned: Callable[[], None] | None = None) -> None:
        self._run = run
        self._abandoned = abandoned
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Without effect if it was started before."""
        with self._lock:
            if self._thread is None:
                if self._abandoned is not None:
                    _started.add(self)
                self._thread = threading.Thread(target=self._run, name="draftline-reader", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Wait until the function has returned, which its owner must have caused."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _end_with_interpreter(self) -> None:
        if self._abandoned is not None and self._thread is not None and self._thread.is_alive():
            self._abandoned()


_started: weakref.WeakSet[BackgroundTask] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for task in list(_started):
        task._end_with_interpreter()
