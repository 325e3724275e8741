"""The pauses between looks at a collection that is being built."""

from __future__ import annotations

import time
from typing import Any

import grpc

from draftline._core.arguments import check_timeout, checked_callback
from draftline.errors import DeadlineExceededError
from draftline.models import UNSET, Unset

_FIRST_S, _LONGEST_S = 0.05, 0.5


class BuildWaits:
    """The pauses of one `wait_until_built`: they grow from 50 to 500 milliseconds."""

    def __init__(self, collection: str, timeout: float | None, on_progress: Any = None) -> None:
        checked_callback("on_progress", on_progress)
        check_timeout(timeout)
        self._collection = collection
        self._until = None if timeout is None else time.monotonic() + timeout
        self._next_s = _FIRST_S

    def call_timeout(self) -> float | Unset:
        """Return the timeout of the next look: what is left, or the client's default."""
        return UNSET if self._until is None else max(self._until - time.monotonic(), 0.001)

    def pause_s(self) -> float:
        """Return the next pause. Raise DeadlineExceededError if the timeout expires within it."""
        pause_s = self._next_s
        self._next_s = min(_LONGEST_S, pause_s * 1.5)
        if self._until is not None and time.monotonic() + pause_s > self._until:
            raise DeadlineExceededError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"the indexes of {self._collection!r} are still being built; the build continues",
            )
        return pause_s
