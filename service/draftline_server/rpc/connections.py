"""Closing, counting and rate-limited logging of abusive connections."""

from __future__ import annotations

import time
from collections import OrderedDict

from ..auth.limited_log import LimitedLog
from ..concurrency.rate_limit import Rate
from .sockets import Sockets, address_of

RESETS_PER_S, RESETS_BURST = 200.0, 1_000  # calls of a connection that the caller cancels
SUSPECT_BURST = 50  # burst of a connection from a host of which another was closed recently
SUSPECT_S = 60.0
MAX_REMEMBERED = 10_000  # connections, and as many hosts


class Connections:
    """Counts the calls that callers cancel, and closes a connection that cancels too many."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._lines = LimitedLog("connection_closed")
        self._resets: OrderedDict[str, Rate] = OrderedDict()  # by peer
        self._suspects: OrderedDict[str, float] = OrderedDict()  # end of the warning, by host
        self._closed: OrderedDict[str, None] = OrderedDict()  # peers
        self.closed_count = 0

    def record_reset(self, peer: str) -> None:
        """Record a call that the caller cancelled, and close the connection if too many of its calls were cancelled."""
        rate = self._resets.get(peer)
        if rate is None:
            address = address_of(peer)
            is_suspect = address is not None and self._suspects.get(address[0], 0.0) > time.monotonic()
            rate = self._resets[peer] = Rate(RESETS_PER_S, SUSPECT_BURST if is_suspect else RESETS_BURST)
            if len(self._resets) > MAX_REMEMBERED:
                self._resets.popitem(last=False)
        if rate.allows():
            return
        address = address_of(peer)
        if address is not None and self._sockets.close(address):
            self._resets.pop(peer, None)
            self.record_closed(peer, "too many of its calls were cancelled")

    def is_closed(self, peer: str) -> bool:
        """Return whether the connection was closed for abuse."""
        return peer in self._closed

    def record_closed(self, peer: str, reason: str) -> None:
        """Record that the connection was closed for abuse, and log it."""
        self.closed_count += 1
        self._closed[peer] = None
        if len(self._closed) > MAX_REMEMBERED:
            self._closed.popitem(last=False)
        address = address_of(peer)
        if address is not None:
            self._suspects[address[0]] = time.monotonic() + SUSPECT_S
            self._suspects.move_to_end(address[0])
            if len(self._suspects) > MAX_REMEMBERED:
                self._suspects.popitem(last=False)
        self._lines.warning(reason, peer=peer)
