"""Rate-limited logging of events that callers can trigger without limit. Suppressed lines are counted."""

from __future__ import annotations

import structlog

from ..concurrency.rate_limit import Rate

PER_S, BURST = 1.0, 20
MAX_REASONS = 50


class LimitedLog:
    """Logs an event with a separate rate limit for each reason.

    The next line of the same reason reports how many lines were suppressed.
    """

    def __init__(self, event: str) -> None:
        self._event = event
        self._rates: dict[str, Rate] = {}  # by reason; reasons beyond MAX_REASONS share one
        self._suppressed: dict[str, int] = {}

    def info(self, reason: str, **values: object) -> None:
        self._write("info", reason, values)

    def warning(self, reason: str, **values: object) -> None:
        self._write("warning", reason, values)

    def _write(self, level: str, reason: str, values: dict[str, object]) -> None:
        key = reason if reason in self._rates or len(self._rates) < MAX_REASONS else ""
        rate = self._rates.get(key)
        if rate is None:
            rate = self._rates[key] = Rate(PER_S, BURST)
        if not rate.allows():
            self._suppressed[key] = self._suppressed.get(key, 0) + 1
            return
        if suppressed := self._suppressed.pop(key, 0):
            values["suppressed"] = suppressed
        getattr(structlog.get_logger(), level)(self._event, reason=reason, **values)
