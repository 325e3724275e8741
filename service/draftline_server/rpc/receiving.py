"""Messages while they arrive: gRPC looks at a message's size when all of it is in memory, so this looks sooner.

A call whose message is not read is sent no more than its window by a caller that keeps to HTTP/2. As soon as it is
read, gRPC opens the window as far as the message says it is long, up to 4 GiB, whatever the largest message may be. So
what a connection has sent beyond the messages that were delivered is looked at every few milliseconds, and

- a connection that has sent more than its calls may take is closed;
- while all connections together have sent more than is set, the largest is closed, of the caller who has sent the most.

A connection that keeps to the limits is never closed by the first rule.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc

from .sockets import Address, Sockets, address_of

LOOK_S = 0.02
MORE_BYTES = 1024 * 1024  # of a connection: frames of other kinds, and what the system has read ahead
PUBLIC = ""  # the caller of whom nothing is known

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class ReceivingOptions:
    most_bytes: int  # of messages that are not complete, of all callers together
    most_public_bytes: int  # the same, of callers who are not known
    streams: int  # of a connection at once
    window_bytes: int  # that a call may be sent before it is read
    call_bytes: int  # that a call may take besides its messages: its metadata


@dataclass(slots=True)
class _Read:
    caller: str
    most_bytes: int
    began: float


@dataclass(slots=True)
class _Connection:
    """A connection over which messages are awaited."""

    reads: dict[int, _Read] = field(default_factory=dict)  # the oldest first
    delivered: int = 0  # bytes, since the first look
    looks: deque[tuple[float, int]] = field(default_factory=deque)  # when, and the bytes that were not delivered then

    def unfinished(self, received: int, now: float) -> int:
        """The bytes that came since the oldest read began and belong to no message that was delivered."""
        undelivered, oldest = received - self.delivered, next(iter(self.reads.values())).began
        self.looks.append((now, undelivered))
        while len(self.looks) > 1 and self.looks[1][0] <= oldest:
            self.looks.popleft()
        return undelivered - self.looks[0][1]


class Receiving:
    """Reads the messages of calls. `closed` is called with a connection's peer when it was closed, and why."""

    def __init__(self, options: ReceivingOptions, sockets: Sockets, closed: Callable[[str, str], None]) -> None:
        self._options = options
        self._sockets = sockets
        self._closed = closed
        self._connections: dict[str, _Connection] = {}
        self._numbers = count()
        self._look_later: asyncio.TimerHandle | None = None

    async def read(self, context: Context, caller: str, most_bytes: int) -> Any:
        """The next message of a call, as bytes, or grpc.aio.EOF. `most_bytes`: of one that is still legal."""
        peer, number = context.peer(), next(self._numbers)
        connection = self._connections.get(peer)
        if connection is None:
            connection = self._connections[peer] = _Connection()
            if self._look_later is None:
                self._look_later = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        connection.reads[number] = _Read(caller, most_bytes, time.monotonic())
        try:
            message = await context.read()
        finally:
            del connection.reads[number]
            connection.delivered += self._options.call_bytes
            if not connection.reads:
                self._connections.pop(peer, None)
        if message is not grpc.aio.EOF:
            connection.delivered += len(message)
        return message

    def unread(self, peer: str) -> None:
        """A call of the connection ended before it was read: what it was sent is over as well."""
        connection = self._connections.get(peer)
        if connection is not None:
            connection.delivered += self._options.call_bytes + self._options.window_bytes

    def _look(self) -> None:
        self._look_later = None
        if not self._connections:
            return
        self._look_later = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        now, unfinished = time.monotonic(), dict[str, int]()
        for peer, connection in list(self._connections.items()):
            if now - next(iter(connection.reads.values())).began < LOOK_S:
                continue  # what is usual, and over before it is looked at
            address = address_of(peer)
            received = self._sockets.received_bytes(address) if address is not None else None
            if address is None or received is None:
                continue
            unfinished[peer] = size = connection.unfinished(received, now)
            if size > self._most_of(connection):
                self._close(peer, address, "it sent more than its calls may take")
                del unfinished[peer]
        self._relieve(unfinished)

    def _most_of(self, connection: _Connection) -> int:
        reads = connection.reads.values()
        is_known = any(read.caller != PUBLIC for read in reads)
        streams = self._options.streams if is_known else len(reads)
        return MORE_BYTES + streams * self._options.window_bytes + sum(read.most_bytes for read in reads)

    def _relieve(self, unfinished: dict[str, int]) -> None:
        """Close the largest connections until what is left is within the limits."""
        by_caller: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for peer, size in unfinished.items():
            reads = self._connections[peer].reads.values()
            by_caller[max(read.caller for read in reads)][peer] = size
        public = by_caller.pop(PUBLIC, {})
        self._reduce({PUBLIC: public}, self._options.most_public_bytes)
        self._reduce(by_caller, self._options.most_bytes)

    def _reduce(self, by_caller: dict[str, dict[str, int]], most_bytes: int) -> None:
        sums = {caller: sum(sizes.values()) for caller, sizes in by_caller.items()}
        while sum(sums.values()) > most_bytes:
            caller = max(sums, key=sums.__getitem__)
            sizes = by_caller[caller]
            peer = max(sizes, key=sizes.__getitem__)
            sums[caller] -= sizes.pop(peer)
            address = address_of(peer)
            if address is not None:
                self._close(peer, address, "too much is being received, and it sent the most")

    def _close(self, peer: str, address: Address, why: str) -> None:
        if self._sockets.close(address):
            self._closed(peer, why)
