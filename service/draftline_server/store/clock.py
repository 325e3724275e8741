"""The time by the database's clock, which all servers share, without asking for it in every call.

Invariants:
- All stored times are by the database's clock. The wall clock of this host is never stored: it may be wrong, or set
  while the service runs.
- A reading is extrapolated with this host's monotonic clock. Its error is at most half the time that it took, plus
  the drift of that clock since then. A server takes a reading every second, with its health check.
- A reading is not trusted once it is older than MAX_AGE_S, nor if the wall clock and the monotonic clock have diverged
  since: the wall clock was set, or the machine was suspended. A call that needs the time then asks the database.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

SQL = "/* read_clock */ SELECT clock_timestamp()"
MAX_AGE_S = 60.0
MAX_APART_S = 1.0  # maximum divergence of wall clock and monotonic clock since a reading
DRIFT = 0.0005  # maximum drift of an undisciplined monotonic clock, in seconds per second
HELD_BACK = timedelta(seconds=1)  # up to this much, a later reading does not make the time run backwards


@dataclass(frozen=True, slots=True)
class _Reading:
    """The database's time at given times of this host's clocks, with a maximum error of `error_s`."""

    now: datetime
    monotonic_s: float
    wall_s: float
    error_s: float

    def at(self, monotonic_s: float) -> datetime:
        return self.now + timedelta(seconds=monotonic_s - self.monotonic_s)

    def error_at(self, monotonic_s: float) -> float:
        return self.error_s + DRIFT * abs(monotonic_s - self.monotonic_s)


class DatabaseClock:
    """The clock of one database, as one process knows it."""

    def __init__(self) -> None:
        self._reading: _Reading | None = None
        self._last: datetime | None = None

    def now(self) -> datetime | None:
        """Return the database's time; None if the database has to be asked."""
        reading, monotonic_s = self._reading, time.monotonic()
        if reading is None or not _is_trusted(reading, monotonic_s, time.time()):
            return None
        now = reading.at(monotonic_s)
        if self._last is not None and now < self._last <= now + HELD_BACK:
            return self._last
        self._last = now
        return now

    async def read(self, connection: Any, timeout_s: float | None = None) -> datetime:
        """Ask the database on a connection of the driver, and return its time."""
        sent_s = time.monotonic()
        now: datetime = await connection.fetchval(SQL, timeout=timeout_s)
        self.note(now, sent_s, time.monotonic())
        return self.now() or now

    async def now_by(self, connection: Any, timeout_s: float | None = None) -> datetime:
        """Return the database's time, asking on this connection if need be."""
        return self.now() or await self.read(connection, timeout_s)

    def note(self, now: datetime, sent_s: float, received_s: float) -> None:
        """Record a reading that was requested and received at these times of the monotonic clock.

        A reading that is less exact than the known one is ignored, unless it shows that the known one is wrong.
        """
        middle_s, wall_s = (sent_s + received_s) / 2, time.time() - (received_s - sent_s) / 2
        new, known = _Reading(now, middle_s, wall_s, (received_s - sent_s) / 2), self._reading
        if known is not None and _is_trusted(known, middle_s, wall_s):
            known_error_s = known.error_at(middle_s)
            apart_s = abs((known.at(middle_s) - now).total_seconds())
            if known_error_s < new.error_s and apart_s <= known_error_s + new.error_s:
                return
        self._reading = new

    def ahead_s(self) -> float | None:
        """Return how far this host's wall clock is ahead of the database's; None if that is unknown.

        The maximum error of the reading is subtracted, so that a slow network does not look like a wrong clock.
        """
        reading, monotonic_s, wall_s = self._reading, time.monotonic(), time.time()
        if reading is None or not 0 <= monotonic_s - reading.monotonic_s <= MAX_AGE_S:
            return None
        ahead_s = wall_s - reading.at(monotonic_s).timestamp()
        surely_s = max(0.0, abs(ahead_s) - reading.error_at(monotonic_s))
        return surely_s if ahead_s > 0 else -surely_s


def _is_trusted(reading: _Reading, monotonic_s: float, wall_s: float) -> bool:
    age_s = monotonic_s - reading.monotonic_s
    return -1.0 <= age_s <= MAX_AGE_S and abs(wall_s - reading.wall_s - age_s) <= MAX_APART_S
