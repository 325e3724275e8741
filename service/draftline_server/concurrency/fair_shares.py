"""Shares of a limit: each caller may have many, and no caller may take all of them.

Not for several threads.
"""

from __future__ import annotations


class Shares:
    """At most `most` at once, of which `kept` are for callers who have few.

    A caller may always have one if there is room at all. Once fewer than `kept` are free, a caller may have at most as
    many as are still free: a caller with many is refused while another still gets more than one.
    """

    def __init__(self, most: int, kept: int) -> None:
        self._most = most
        self._kept = kept
        self._taken_by: dict[str, int] = {}  # callers, those with none left out
        self.taken = 0

    def take(self, caller: str) -> bool:
        """Take one for the caller. False if there is no room for it; then nothing was taken."""
        own, free = self._taken_by.get(caller, 0), self._most - self.taken
        if free <= 0 or (free <= self._kept and own >= free):
            return False
        self._taken_by[caller] = own + 1
        self.taken += 1
        return True

    def release(self, caller: str) -> None:
        """Give back one that the caller took."""
        self.taken -= 1
        left = self._taken_by[caller] - 1
        if left:
            self._taken_by[caller] = left
        else:
            del self._taken_by[caller]

    def move(self, caller: str, to: str) -> bool:
        """Move one from a caller to another. False if there is no room for the other; then nothing was moved."""
        if caller == to:
            return True
        self.release(caller)
        if self.take(to):
            return True
        self._taken_by[caller] = self._taken_by.get(caller, 0) + 1
        self.taken += 1
        return False
