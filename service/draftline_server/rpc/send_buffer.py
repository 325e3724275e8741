"""A limit on the memory of responses that callers have not read yet.

gRPC buffers a response until the caller's flow control lets it out. If the caller reads nothing, gRPC buffers all of
them with no time limit. So responses are counted from when they are handed to gRPC until they are sent, and

- a tenant whose unread responses take as many bytes as are still free is refused further ones, before they are built;
- a connection that leaves a response unread for too long is closed, which frees it. This needs Linux, see sockets.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import grpc

from ..domain.errors import OverloadedError, ReaderTooSlowError
from .sockets import Sockets, address_of

MIN_BYTES = 16 * 1024  # counted per response at least, since its call takes memory as well
SMALL_BYTES = 64 * 1024  # stream messages up to this size are never refused: a few changes, heartbeats
CHECK_INTERVAL_S = 1.0

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Response:
    peer: str
    tenant_id: str
    size: int
    started: float


class SendBuffer:
    """Counts unread responses. Calls `closed` with the peer and the reason after closing a connection."""

    def __init__(
        self, max_bytes: int, max_unread_s: float, sockets: Sockets, closed: Callable[[str, str], None]
    ) -> None:
        """Limit the time that a response may stay unread to `max_unread_s`."""
        self._max_bytes = max_bytes
        self._max_unread_s = max_unread_s
        self._sockets = sockets
        self._closed = closed
        self._responses: dict[int, _Response] = {}  # oldest first
        self._by_tenant: dict[str, int] = {}
        self._numbers = count()
        self._next_check: asyncio.TimerHandle | None = None
        self.bytes = 0

    def reject_if_full(self, tenant_id: str, size: int = 0) -> None:
        """Raise OverloadedError if the tenant's unread responses plus `size` leave too little to other tenants."""
        if size and size <= SMALL_BYTES:
            return
        own, free = self._by_tenant.get(tenant_id, 0), self._max_bytes - self.bytes
        if own and own + size >= free:
            raise OverloadedError(
                f"{own} bytes of responses to this tenant are unread; read them, then try again", retry_after_s=1.0
            )

    def track_response(self, context: Context, peer: str, tenant_id: str, size: int) -> None:
        """Count the response of a call until gRPC has finished the call."""
        number = self._add(peer, tenant_id, size)
        call: Any = context  # the stubs declare the callback of the client side
        call.add_done_callback(lambda _: self._remove(number))

    @contextmanager
    def track_message(self, peer: str, tenant_id: str, size: int) -> Iterator[None]:
        """Count a message of a stream while it is written.

        An abandoned message stays counted: gRPC keeps it until the caller reads it or its connection ends.
        """
        number = self._add(peer, tenant_id, size)
        try:
            yield
        except ReaderTooSlowError:
            raise
        except BaseException:
            self._remove(number)
            raise
        self._remove(number)

    def _add(self, peer: str, tenant_id: str, size: int) -> int:
        number, response = next(self._numbers), _Response(peer, tenant_id, max(size, MIN_BYTES), time.monotonic())
        self._responses[number] = response
        self._by_tenant[tenant_id] = self._by_tenant.get(tenant_id, 0) + response.size
        self.bytes += response.size
        if self._next_check is None:
            self._next_check = asyncio.get_running_loop().call_later(CHECK_INTERVAL_S, self._check)
        return number

    def _remove(self, number: int) -> None:
        response = self._responses.pop(number, None)
        if response is None:
            return
        self.bytes -= response.size
        left = self._by_tenant[response.tenant_id] - response.size
        if left:
            self._by_tenant[response.tenant_id] = left
        else:
            del self._by_tenant[response.tenant_id]

    def _check(self) -> None:
        """Close the connections that left a response unread for too long."""
        self._next_check = None
        before = time.monotonic() - self._max_unread_s
        late = []
        for number, response in self._responses.items():
            if response.started > before:
                break
            late.append((number, response))
        for peer in {response.peer for _, response in late}:
            address = address_of(peer)
            if address is not None and self._sockets.close(address):
                self._closed(peer, "it does not read its responses")
        for number, _ in late:
            self._remove(number)
        if self._responses:
            self._next_check = asyncio.get_running_loop().call_later(CHECK_INTERVAL_S, self._check)
