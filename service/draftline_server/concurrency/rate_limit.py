"""A rate limit with a burst (a token bucket).

Not thread-safe.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Rate:
    """A limit of `burst` events at once and `per_s` events a second after that."""

    __slots__ = ("_at", "_burst", "_clock", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._clock = clock
        self._at = clock()

    def allows(self) -> bool:
        """Count one event. Return False if it exceeds the rate; it then uses up nothing."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
