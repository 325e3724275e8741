"""Shares of a limit: a caller may hold many of them, but never all.

Not thread-safe.
"""

from __future__ import annotations


class Shares:
    """A limit of `most` shares, the last `kept` of which go only to callers that hold few.

    A caller that holds none is refused only if no share is free. Once no more than `kept` are free, a caller is refused
    if it holds at least as many as are free, so a caller with many is refused while others can still take some.
    """

    def __init__(self, limit: int, reserved: int) -> None:
        self._limit = limit
        self._reserved = reserved
        self._taken_by: dict[str, int] = {}  # shares by caller, without callers that hold none
        self.taken = 0

    def take(self, caller: str) -> bool:
        """Take a share for the caller. Return False, and take nothing, if there is no room for it."""
        own, free = self._taken_by.get(caller, 0), self._limit - self.taken
        if free <= 0 or (free <= self._reserved and own >= free):
            return False
        self._taken_by[caller] = own + 1
        self.taken += 1
        return True

    def release(self, caller: str) -> None:
        """Release a share that the caller took."""
        self.taken -= 1
        remaining = self._taken_by[caller] - 1
        if remaining:
            self._taken_by[caller] = remaining
        else:
            del self._taken_by[caller]

    def move(self, caller: str, to: str) -> bool:
        """Move a share to another caller. Return False, and move nothing, if there is no room for the other."""
        if caller == to:
            return True
        self.release(caller)
        if self.take(to):
            return True
        self._taken_by[caller] = self._taken_by.get(caller, 0) + 1
        self.taken += 1
        return False
