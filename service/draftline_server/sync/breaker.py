"""The limits of requests to one upstream: its rate, and a pause while it cannot be reached."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

OPENS_AFTER = 5  # failures in a row
LONGEST_S = 30.0  # between two tries
LONGEST_ASKED_S = 3600.0  # that a system may ask to wait: after it one request tries again


def asked_s(after_s: float | None) -> float:
    """Return how long a system asked to wait, within limits; 0 if it did not ask, or if that is not a duration."""
    return min(after_s, LONGEST_ASKED_S) if after_s is not None and after_s > 0.0 else 0.0


class Breaker:
    """Stops requests while an upstream fails, and lets one at a time try it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.failures = 0
        self._closed_until = 0.0  # no request at all before, as the upstream asked

    @property
    def is_open(self) -> bool:
        return self.failures >= OPENS_AFTER

    def pause_s(self) -> float:
        """Return how long to wait before the next request."""
        return max(0.0, self._closed_until - self._clock())

    def succeeded(self) -> bool:
        """Note that a request reached the upstream. Return whether the breaker was open."""
        was_open, self.failures = self.is_open, 0
        return was_open

    def failed(self, after_s: float | None = None) -> None:
        """Note a request that did not reach the upstream, or that it throttled for `after_s`."""
        self.failures += 1
        pause_s = asked_s(after_s)
        if self.is_open:
            longest_s = min(LONGEST_S, 2.0 ** (self.failures - OPENS_AFTER))
            pause_s = max(pause_s, longest_s * random.uniform(0.5, 1.0))  # noqa: S311  not for secrets
        self._closed_until = max(self._closed_until, self._clock() + pause_s)


class TokenBucket:
    """Limits the rate of requests to `per_s`, with bursts of a second's requests; None: no limit."""

    def __init__(self, per_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._tokens = max(1.0, per_s or 1.0)
        self._filled_at = clock()

    async def take(self) -> None:
        """Wait for a token."""
        if self._per_s is None:
            return
        self._fill(self._per_s)
        self._tokens -= 1
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._per_s)

    def _fill(self, per_s: float) -> None:
        now = self._clock()
        self._tokens = min(max(1.0, per_s), self._tokens + (now - self._filled_at) * per_s)
        self._filled_at = now
