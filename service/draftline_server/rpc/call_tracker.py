"""Tracking of all calls of a server: limits per caller, counts and draining."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from ..auth.authentication import Authenticator
from ..auth.identity import Identity
from ..concurrency.fair_shares import Shares
from ..domain.errors import DeadlineExceededError, DrainingError, OverloadedError, UndecodableRequestError
from ..observability.telemetry import Call, Method, Telemetry
from .admission import Admission
from .connections import Connections
from .idempotency import IdempotencyLayer
from .import_pace import PaceOptions
from .receiving import Context, Receiving
from .sending import Sending

# Arrivals have stopped after SETTLE_QUIET intervals without a new call. Wait at most SETTLE_MOST intervals.
SETTLE_S, SETTLE_QUIET, SETTLE_MOST = 0.02, 4, 50
KEPT_PART = 8  # 1/KEPT_PART of the concurrent calls is reserved for callers with few
LEAST_ARRIVING = 64  # minimum limit of calls that wait for their message, however low the other limits are


@dataclass(frozen=True, slots=True)
class CallOptions:
    most: int  # concurrent calls of identified callers
    most_arriving: int  # how many of these may wait for their message
    most_request_bytes: int
    timeout_s: float  # of a unary call
    message_timeout_s: float  # for the first message of a call
    idle_timeout_s: float  # of a stream's caller: between two messages that it sends, or until it reads one
    pace: PaceOptions  # of streams from callers


class CallTracker:
    """State shared by all calls of a server: authentication, limits, counts and draining.

    Calls are counted per connection until their caller is identified, then per identity in the token, and per tenant
    once their message has arrived. A part of each limit is reserved for callers with few calls.
    """

    def __init__(
        self,
        options: CallOptions,
        *,
        once: IdempotencyLayer,
        authenticator: Authenticator,
        admission: Admission,
        receiving: Receiving,
        sending: Sending,
        connections: Connections,
        wrote: Callable[[str], None],
        telemetry: Telemetry,
    ) -> None:
        """Call `wrote` with the tenant of each call that may have written."""
        self._options = options
        self.once = once
        self.authenticator = authenticator
        self.admission = admission
        self.connections = connections
        self.receiving = receiving
        self.sending = sending
        self.wrote = wrote
        self.telemetry = telemetry
        self.count = 0
        self.begun = 0  # in total
        arriving = max(LEAST_ARRIVING, options.most_arriving)
        self._known = Shares(options.most, options.most // KEPT_PART)
        self._unknown = Shares(arriving, arriving // 2)
        self._arriving = Shares(arriving, arriving // 2)
        self.draining = False
        self.turned_away = asyncio.Event()  # set once callers have been told to use another server
        self.idle = asyncio.Event()

    @property
    def call_timeout_s(self) -> float:
        return self._options.timeout_s

    @property
    def idle_timeout_s(self) -> float:
        return self._options.idle_timeout_s

    @property
    def pace(self) -> PaceOptions:
        return self._options.pace

    @property
    def arriving(self) -> int:
        """The number of calls that wait for their first message."""
        return self._arriving.taken

    def come(self, method: Method, peer: str) -> Call:
        """Record a new call on the connection. `gone` must be called when it ends."""
        self.count += 1
        self.begun += 1
        self.idle.clear()
        call = self.telemetry.began(method)
        call.peer = peer
        return call

    async def identify(self, call: Call) -> Identity:
        """Return the identity of the caller. This may fetch keys. Raises OverloadedError if too many calls do so."""
        if not self._unknown.take(call.peer):
            raise OverloadedError("too many callers are being identified; nothing was done, try again later")
        try:
            return await self.authenticator.identify(call.metadata)
        finally:
            self._unknown.release(call.peer)

    def admit(self, call: Call, identity: Identity) -> None:
        """Count the call for its caller. Raises OverloadedError if the limit is reached.

        grpc's own limit, maximum_concurrent_rpcs, admits everything once it was reached (1.78).
        """
        caller = identity.counted_as(call.peer)
        if not self._known.take(caller):
            raise self._full()
        call.identity, call.caller, call.user_id = identity, caller, identity.user_id

    def belongs_to(self, call: Call, tenant_id: str) -> None:
        """Count the call for its tenant instead of its caller. Raises OverloadedError if the limit is reached."""
        call.tenant_id = tenant_id
        if not self._known.move(call.caller, tenant_id):
            raise self._full()
        call.caller = tenant_id

    def _full(self) -> OverloadedError:
        return OverloadedError(
            f"{self._known.taken} calls are under way, and of {self._options.most} some are kept for callers with few; "
            "nothing was done, try again later"
        )

    async def message(self, context: Context, call: Call) -> bytes:
        """Return the first or only message of a call.

        Raises OverloadedError, DeadlineExceededError if it does not arrive in time, or UndecodableRequestError if the
        call ends without it.
        """
        limit_s = min(self._options.message_timeout_s, self._options.idle_timeout_s)
        if not self._arriving.take(call.caller):
            problem = f"{self._arriving.taken} calls wait for their messages; nothing was done, try again later"
            raise OverloadedError(problem)
        try:
            async with asyncio.timeout(limit_s):
                message = await self.next_message(context, call)
        except TimeoutError:
            problem = f"the message of the call did not come within {limit_s:g} s; nothing was done"
            raise DeadlineExceededError(problem) from None
        finally:
            self._arriving.release(call.caller)
        if message is grpc.aio.EOF:
            raise UndecodableRequestError("the call ended without its message")
        data: bytes = message
        return data

    async def next_message(self, context: Context, call: Call) -> Any:
        """Return the next message of a call as bytes, or grpc.aio.EOF."""
        message = await self.receiving.read(context, call.caller, self._options.most_request_bytes)
        if message is not grpc.aio.EOF:
            call.received_bytes += len(message)
        return message

    def cancelled(self, call: Call, left_s: float | None) -> None:
        """Record that the caller cancelled the call or that its deadline has passed."""
        call.reason = ""
        if left_s is not None and left_s <= 0:
            call.code = grpc.StatusCode.DEADLINE_EXCEEDED
        else:
            call.code = grpc.StatusCode.CANCELLED
            self.connections.reset(call.peer)

    def gone(self, call: Call) -> None:
        if call.caller:
            self._known.release(call.caller)
        if not call.received_bytes:
            self.receiving.unread(call.peer)
        self.count -= 1
        if not self.count:
            self.idle.set()
        self.telemetry.ended(call)

    async def drain(self) -> None:
        """Reject new and waiting calls, end streams at their next message, and return when no more calls arrive.

        Calls do not end until `drained` is called (see `settled`), so that callers do not retry here at once.
        """
        self.draining = True
        self.admission.drain()
        quiet = 0
        for _ in range(SETTLE_MOST):
            before = self.begun
            await asyncio.sleep(SETTLE_S)
            quiet = quiet + 1 if self.begun == before else 0
            if quiet == SETTLE_QUIET or not self.count:
                return

    def refuse_late(self) -> None:
        if self.draining:
            raise DrainingError("the server is stopping; nothing was done, call another one")

    async def settled(self) -> None:
        """While the server drains, wait until callers have been told to use another server."""
        if self.draining:
            await self.turned_away.wait()

    async def drained(self, timeout_s: float) -> None:
        """Let calls end, and return when none is left or after `timeout_s`."""
        self.turned_away.set()
        if self.count:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), timeout_s)
