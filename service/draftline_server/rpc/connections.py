"""Connections that go too far: they are closed, counted and told in the log, a few lines a minute."""

from __future__ import annotations

import time
from collections import OrderedDict

from ..auth.limited_log import LimitedLog
from ..concurrency.rate_limit import Rate
from .sockets import Sockets, address_of

RESETS_PER_S, RESETS_BURST = 200.0, 1_000  # calls of a connection that their caller takes back
WARNED_BURST = 50  # of a connection from where another went too far lately
WARNED_S = 60.0
MAX_REMEMBERED = 10_000  # connections, and hosts


class Connections:
    """Counts the calls that callers take back, and closes a connection that takes back too many."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._lines = LimitedLog("connection_closed")
        self._resets: OrderedDict[str, Rate] = OrderedDict()  # by peer
        self._warned: OrderedDict[str, float] = OrderedDict()  # by host, until when
        self._closed: OrderedDict[str, None] = OrderedDict()  # peers
        self.closed_count = 0

    def reset(self, peer: str) -> None:
        """A call of the connection was cancelled by its caller."""
        rate = self._resets.get(peer)
        if rate is None:
            address = address_of(peer)
            is_warned = address is not None and self._warned.get(address[0], 0.0) > time.monotonic()
            rate = self._resets[peer] = Rate(RESETS_PER_S, WARNED_BURST if is_warned else RESETS_BURST)
            if len(self._resets) > MAX_REMEMBERED:
                self._resets.popitem(last=False)
        if rate.allows():
            return
        address = address_of(peer)
        if address is not None and self._sockets.close(address):
            self._resets.pop(peer, None)
            self.closed(peer, "its calls are cancelled too often")

    def is_closed(self, peer: str) -> bool:
        """Whether the connection was closed for going too far."""
        return peer in self._closed

    def closed(self, peer: str, why: str) -> None:
        """The connection was closed for going too far."""
        self.closed_count += 1
        self._closed[peer] = None
        if len(self._closed) > MAX_REMEMBERED:
            self._closed.popitem(last=False)
        address = address_of(peer)
        if address is not None:
            self._warned[address[0]] = time.monotonic() + WARNED_S
            self._warned.move_to_end(address[0])
            if len(self._warned) > MAX_REMEMBERED:
                self._warned.popitem(last=False)
        self._lines.warning(why, peer=peer)
