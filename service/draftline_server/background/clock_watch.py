"""A watch that logs when the clock of this host differs from the database's by more than is allowed.

Stored times do not depend on this host's clock (store/clock.py); tokens, certificates and the times in its log do.
"""

from __future__ import annotations

import asyncio

import structlog

from ..store.clock import DatabaseClock

INTERVAL_S = 1.0


class ClockWatch:
    """A task that compares the clocks every INTERVAL_S until it is cancelled."""

    def __init__(self, clock: DatabaseClock, max_skew_s: float) -> None:
        self._clock = clock
        self._max_skew_s = max_skew_s
        self._was_off = False

    @property
    def skew_s(self) -> float:
        """The absolute difference of this host's clock from the database's, in seconds; 0 while it is unknown."""
        return abs(self._clock.ahead_s() or 0.0)

    @property
    def warning(self) -> str:
        """A sentence that says how this host's clock is wrong; empty if it is not."""
        ahead_s = self._clock.ahead_s() or 0.0
        if abs(ahead_s) <= self._max_skew_s:
            return ""
        way = "ahead of" if ahead_s > 0 else "behind"
        return (
            f"the clock of this host is {abs(ahead_s):.1f} s {way} the database's, "
            f"beyond the limit of {self._max_skew_s:g} s; tokens and certificates depend on it"
        )

    async def run(self) -> None:
        while True:
            self.check()
            await asyncio.sleep(INTERVAL_S)

    def check(self) -> None:
        """Log when the clock goes wrong and when it is right again."""
        if self._clock.ahead_s() is None or self._clock.now() is None:  # after a jump, the next reading decides
            return
        warning, log = self.warning, structlog.get_logger()
        if warning and not self._was_off:
            log.warning("clock_skew_detected", skew_s=round(self.skew_s, 1), reason=warning)
        elif self._was_off and not warning:
            log.info("clock_skew_resolved", skew_s=round(self.skew_s, 1))
        self._was_off = bool(warning)
