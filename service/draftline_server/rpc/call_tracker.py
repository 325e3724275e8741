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
from .condition_warnings import ConditionWarnings
from .connections import Connections
from .idempotency import IdempotencyLayer
from .import_pace import PaceOptions
from .receive_buffer import Context, ReceiveBuffer
from .send_buffer import SendBuffer

# Arrivals have stopped after SETTLE_QUIET_ROUNDS intervals without a new call. Wait for at most
# SETTLE_MAX_ROUNDS intervals.
SETTLE_S, SETTLE_QUIET_ROUNDS, SETTLE_MAX_ROUNDS = 0.02, 4, 50
RESERVED_DIVISOR = 8  # 1/RESERVED_DIVISOR of the concurrent calls is reserved for callers with few
MIN_ARRIVING = 64  # minimum limit of calls that wait for their message, however low the other limits are


@dataclass(frozen=True, slots=True)
class CallOptions:
    max_calls: int  # concurrent calls of identified callers
    max_arriving: int  # how many of these may wait for their message
    max_request_bytes: int
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
        idempotency: IdempotencyLayer,
        conditions: ConditionWarnings,
        authenticator: Authenticator,
        admission: Admission,
        receive_buffer: ReceiveBuffer,
        send_buffer: SendBuffer,
        connections: Connections,
        on_write: Callable[[str], None],
        telemetry: Telemetry,
    ) -> None:
        """Call `on_write` with the tenant of each call that may have written."""
        self._options = options
        self.idempotency = idempotency
        self.conditions = conditions
        self.authenticator = authenticator
        self.admission = admission
        self.connections = connections
        self.receive_buffer = receive_buffer
        self.send_buffer = send_buffer
        self.on_write = on_write
        self.telemetry = telemetry
        self.count = 0
        self.started_count = 0  # in total
        arriving = max(MIN_ARRIVING, options.max_arriving)
        self._by_caller = Shares(options.max_calls, options.max_calls // RESERVED_DIVISOR)
        self._identifying = Shares(arriving, arriving // 2)
        self._arriving = Shares(arriving, arriving // 2)
        self.draining = False
        self.drain_started = asyncio.Event()
        self.goaway_sent = asyncio.Event()  # set once callers have been sent to another server
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

    def start(self, method: Method, peer: str) -> Call:
        """Record a new call on the connection. `finish` must be called when it ends."""
        self.count += 1
        self.started_count += 1
        self.idle.clear()
        call = self.telemetry.start_call(method)
        call.peer = peer
        return call

    async def identify(self, call: Call) -> Identity:
        """Return the identity of the caller. This may fetch keys. Raises OverloadedError if too many calls do so."""
        if not self._identifying.take(call.peer):
            raise OverloadedError("too many calls are being authenticated; nothing was done, try again later")
        try:
            return await self.authenticator.identify(call.metadata)
        finally:
            self._identifying.release(call.peer)

    def assign_caller(self, call: Call, identity: Identity) -> None:
        """Count the call for its caller. Raises OverloadedError if the limit is reached.

        grpc's own limit, maximum_concurrent_rpcs, admits everything once it was reached (1.78).
        """
        caller = identity.counted_as(call.peer)
        if not self._by_caller.take(caller):
            raise self._too_many_calls()
        call.identity, call.caller, call.user_id = identity, caller, identity.user_id

    def assign_tenant(self, call: Call, tenant_id: str) -> None:
        """Count the call for its tenant instead of its caller. Raises OverloadedError if the limit is reached."""
        call.tenant_id = tenant_id
        if not self._by_caller.move(call.caller, tenant_id):
            raise self._too_many_calls()
        call.caller = tenant_id

    def _too_many_calls(self) -> OverloadedError:
        return OverloadedError(
            f"{self._by_caller.taken} of {self._options.max_calls} calls are running, and the rest is reserved for "
            "callers with fewer calls; nothing was done, try again later"
        )

    async def first_message(self, context: Context, call: Call) -> bytes:
        """Return the first or only message of a call.

        Raises OverloadedError, DeadlineExceededError if it does not arrive in time, or UndecodableRequestError if the
        call ends without it.
        """
        limit_s = min(self._options.message_timeout_s, self._options.idle_timeout_s)
        if not self._arriving.take(call.caller):
            problem = (
                f"{self._arriving.taken} calls are waiting for their first message; nothing was done, try again later"
            )
            raise OverloadedError(problem)
        try:
            message = await self.next_message(context, call, limit_s)
        except TimeoutError:
            problem = f"the request message did not arrive within {limit_s:g} s; nothing was done"
            raise DeadlineExceededError(problem) from None
        finally:
            self._arriving.release(call.caller)
        if message is grpc.aio.EOF:
            raise UndecodableRequestError("the call ended without a request message")
        data: bytes = message
        return data

    async def next_message(self, context: Context, call: Call, limit_s: float | None = None) -> Any:
        """Return the next message of a call as bytes, or grpc.aio.EOF. See ReceiveBuffer.read for `limit_s`."""
        message = await self.receive_buffer.read(context, call.caller, self._options.max_request_bytes, limit_s)
        if message is not grpc.aio.EOF:
            call.received_bytes += len(message)
        return message

    def mark_cancelled(self, call: Call, time_left_s: float | None) -> None:
        """Record that the caller cancelled the call or that its deadline has passed."""
        call.reason = ""
        if time_left_s is not None and time_left_s <= 0:
            call.code = grpc.StatusCode.DEADLINE_EXCEEDED
        else:
            call.code = grpc.StatusCode.CANCELLED
            self.connections.record_reset(call.peer)

    def finish(self, call: Call) -> None:
        if call.caller:
            self._by_caller.release(call.caller)
        if not call.received_bytes:
            self.receive_buffer.record_unread(call.peer)
        self.count -= 1
        if not self.count:
            self.idle.set()
        self.telemetry.end_call(call)

    async def drain(self) -> None:
        """Reject new and waiting calls, end streams at their next message, and return when no more calls arrive.

        Calls do not end until `wait_idle` is called (see `await_goaway`), so that callers do not retry here at once.
        """
        self.draining = True
        self.drain_started.set()
        self.admission.drain()
        quiet_rounds = 0
        for _ in range(SETTLE_MAX_ROUNDS):
            before = self.started_count
            await asyncio.sleep(SETTLE_S)
            quiet_rounds = quiet_rounds + 1 if self.started_count == before else 0
            if quiet_rounds == SETTLE_QUIET_ROUNDS or not self.count:
                return

    def reject_if_draining(self) -> None:
        if self.draining:
            raise DrainingError("the server is shutting down; nothing was done, retry on another server")

    async def await_goaway(self) -> None:
        """While the server drains, wait until callers have been sent to another server."""
        if self.draining:
            await self.goaway_sent.wait()

    async def wait_idle(self, timeout_s: float) -> None:
        """Let calls end, and return when none is left or after `timeout_s`."""
        self.goaway_sent.set()
        if self.count:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), timeout_s)
