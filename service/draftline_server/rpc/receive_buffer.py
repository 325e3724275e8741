"""A limit on the memory of messages that are still arriving. gRPC checks a size only when the message is complete.

A caller that follows HTTP/2 sends at most one flow-control window for a call that is not read. Once the call is read,
gRPC widens the window to the length that the message declares, up to 4 GiB, whatever the maximum message size is. So
the bytes that each connection sent beyond its delivered messages are checked every few milliseconds, and

- a connection that has sent more than its calls may send is closed;
- while all connections together exceed the limit, the largest connection of the caller that sent the most is closed.

The first rule never closes a connection that respects the limits.

The same check ends reads that take too long, because a timer for each would cost every call 5 microseconds.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc

from .sockets import Address, Sockets, address_of

CHECK_INTERVAL_S = 0.02
OVERHEAD_BYTES = 1024 * 1024  # per connection: other kinds of frames, and bytes that the kernel has buffered
PUBLIC = ""  # stands for every caller that is not identified

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class ReceiveBufferOptions:
    max_bytes: int  # of incomplete messages of all callers together
    max_public_bytes: int  # the same for unidentified callers
    streams: int  # concurrent streams of a connection
    window_bytes: int  # bytes that a caller may send for a call before it is read
    call_bytes: int  # bytes of a call besides its messages: its metadata


@dataclass(slots=True)
class _Read:
    caller: str
    max_bytes: int
    started: float
    task: asyncio.Task[Any] | None = None  # to be cancelled at `ends_at`
    ends_at: float = math.inf
    is_late: bool = False


@dataclass(slots=True)
class _Connection:
    """A connection with pending reads."""

    reads: dict[int, _Read] = field(default_factory=dict)  # oldest first
    delivered: int = 0  # bytes since the first check
    samples: deque[tuple[float, int]] = field(default_factory=deque)  # time of a check, undelivered bytes at that time

    def unfinished(self, received: int, now: float) -> int:
        """Return the number of bytes received since the oldest read started that belong to no delivered message."""
        undelivered, oldest = received - self.delivered, next(iter(self.reads.values())).started
        self.samples.append((now, undelivered))
        while len(self.samples) > 1 and self.samples[1][0] <= oldest:
            self.samples.popleft()
        return undelivered - self.samples[0][1]


class ReceiveBuffer:
    """Reads the messages of calls. Calls `closed` with the peer and the reason after closing a connection."""

    def __init__(self, options: ReceiveBufferOptions, sockets: Sockets, closed: Callable[[str, str], None]) -> None:
        self._options = options
        self._sockets = sockets
        self._closed = closed
        self._connections: dict[str, _Connection] = {}
        self._limited: dict[int, _Read] = {}  # the reads with a time limit, in the order of their ends
        self._numbers = count()
        self._next_check: asyncio.TimerHandle | None = None

    async def read(self, context: Context, caller: str, max_bytes: int, limit_s: float | None = None) -> Any:
        """Return the next message of a call as bytes, or grpc.aio.EOF. `max_bytes` is the maximum legal size.

        Raise TimeoutError if it does not arrive within `limit_s`, which is the same for all reads that have a limit.
        """
        peer, number = context.peer(), next(self._numbers)
        connection = self._connections.get(peer)
        if connection is None:
            connection = self._connections[peer] = _Connection()
            if self._next_check is None:
                self._next_check = asyncio.get_running_loop().call_later(CHECK_INTERVAL_S, self._check)
        connection.reads[number] = read = _Read(caller, max_bytes, time.monotonic())
        if limit_s is not None:
            read.task, read.ends_at = asyncio.current_task(), read.started + limit_s
            self._limited[number] = read
        try:
            message = await context.read()
        except asyncio.CancelledError:
            if read.is_late and read.task is not None and not read.task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            del connection.reads[number]
            self._limited.pop(number, None)
            connection.delivered += self._options.call_bytes
            if not connection.reads:
                self._connections.pop(peer, None)
        if message is not grpc.aio.EOF:
            connection.delivered += len(message)
        return message

    def record_unread(self, peer: str) -> None:
        """Record that a call of the connection ended unread, so that its bytes are no longer pending."""
        connection = self._connections.get(peer)
        if connection is not None:
            connection.delivered += self._options.call_bytes + self._options.window_bytes

    def _check(self) -> None:
        self._next_check = None
        if not self._connections:
            return
        self._next_check = asyncio.get_running_loop().call_later(CHECK_INTERVAL_S, self._check)
        now, unfinished = time.monotonic(), dict[str, int]()
        self._end_late(now)
        for peer, connection in list(self._connections.items()):
            if now - next(iter(connection.reads.values())).started < CHECK_INTERVAL_S:
                continue  # the usual case: such reads end before the next check
            address = address_of(peer)
            received = self._sockets.received_bytes(address) if address is not None else None
            if address is None or received is None:
                continue
            unfinished[peer] = size = connection.unfinished(received, now)
            if size > self._allowed_bytes(connection):
                self._close(peer, address, "it sent more bytes than its calls may take")
                del unfinished[peer]
        self._enforce_totals(unfinished)

    def _end_late(self, now: float) -> None:
        """Cancel the reads whose time limit has passed."""
        while self._limited and (first := next(iter(self._limited.items())))[1].ends_at <= now:
            number, read = first
            del self._limited[number]
            read.is_late = True
            if read.task is not None:
                read.task.cancel()

    def _allowed_bytes(self, connection: _Connection) -> int:
        reads = connection.reads.values()
        is_identified = any(read.caller != PUBLIC for read in reads)
        streams = self._options.streams if is_identified else len(reads)
        return OVERHEAD_BYTES + streams * self._options.window_bytes + sum(read.max_bytes for read in reads)

    def _enforce_totals(self, unfinished: dict[str, int]) -> None:
        """Close the largest connections until the rest is within the limits."""
        by_caller: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for peer, size in unfinished.items():
            reads = self._connections[peer].reads.values()
            by_caller[max(read.caller for read in reads)][peer] = size
        public = by_caller.pop(PUBLIC, {})
        self._close_largest({PUBLIC: public}, self._options.max_public_bytes)
        self._close_largest(by_caller, self._options.max_bytes)

    def _close_largest(self, by_caller: dict[str, dict[str, int]], max_bytes: int) -> None:
        totals = {caller: sum(sizes.values()) for caller, sizes in by_caller.items()}
        while sum(totals.values()) > max_bytes:
            caller = max(totals, key=totals.__getitem__)
            sizes = by_caller[caller]
            peer = max(sizes, key=sizes.__getitem__)
            totals[caller] -= sizes.pop(peer)
            address = address_of(peer)
            if address is not None:
                self._close(peer, address, "incomplete messages exceed the limit, and it sent the most bytes")

    def _close(self, peer: str, address: Address, reason: str) -> None:
        if self._sockets.close(address):
            self._closed(peer, reason)
