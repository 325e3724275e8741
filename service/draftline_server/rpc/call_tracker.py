"""The calls of a server as a whole: how many there are, and whether more may come."""

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

# No more calls come when there were none in so many intervals; there are so many of these at most.
SETTLE_S, SETTLE_QUIET, SETTLE_MOST = 0.02, 4, 50
KEPT_PART = 8  # of the calls at once is kept for callers who have few
LEAST_ARRIVING = 64  # calls whose message may be awaited, however low the other limits are


@dataclass(frozen=True, slots=True)
class CallOptions:
    most: int  # calls at once, of callers who are known
    most_arriving: int  # of these, how many may wait for their message
    most_request_bytes: int
    timeout_s: float  # of a unary call
    message_timeout_s: float  # for the first message of a call to come
    idle_timeout_s: float  # of the other end of a stream: between two messages that it sends, or until it reads one
    pace: PaceOptions  # of streams that callers send


class CallTracker:
    """What the calls of a server share: who makes them, their limits, how many there are, and whether it drains.

    Calls are counted by connection until their caller is known, then by who the token says they are from, and by
    tenant as soon as their message has come. Of each count, a part is kept for those who have few.
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
        """`wrote` is called with the tenant of each call that may have written."""
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
        self.begun = 0  # ever
        arriving = max(LEAST_ARRIVING, options.most_arriving)
        self._known = Shares(options.most, options.most // KEPT_PART)
        self._unknown = Shares(arriving, arriving // 2)
        self._arriving = Shares(arriving, arriving // 2)
        self.draining = False
        self.turned_away = asyncio.Event()  # set once callers know to go elsewhere
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
        """Calls whose message has not come yet."""
        return self._arriving.taken

    def come(self, method: Method, peer: str) -> Call:
        """A call has come over the connection; `gone` when it is over."""
        self.count += 1
        self.begun += 1
        self.idle.clear()
        call = self.telemetry.began(method)
        call.peer = peer
        return call

    async def identify(self, call: Call) -> Identity:
        """Its caller; for that, keys may have to be fetched."""
        if not self._unknown.take(call.peer):
            raise OverloadedError("too many callers are being identified; nothing was done, try again later")
        try:
            return await self.authenticator.identify(call.metadata)
        finally:
            self._unknown.release(call.peer)

    def admit(self, call: Call, identity: Identity) -> None:
        """Count the call for its caller. grpc's own limit, maximum_concurrent_rpcs, lets everything pass once it was
        reached (1.78)."""
        caller = identity.counted_as(call.peer)
        if not self._known.take(caller):
            raise self._full()
        call.identity, call.caller, call.user_id = identity, caller, identity.user_id

    def belongs_to(self, call: Call, tenant_id: str) -> None:
        """Count the call for its tenant from now on."""
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
        """The first message of a call, or the only one."""
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
        """A message of a call, as bytes, or grpc.aio.EOF."""
        message = await self.receiving.read(context, call.caller, self._options.most_request_bytes)
        if message is not grpc.aio.EOF:
            call.received_bytes += len(message)
        return message

    def cancelled(self, call: Call, left_s: float | None) -> None:
        """The call was ended by its caller, or its time is over."""
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
        """From now on calls are not begun, those that wait are refused, and streams end at their next message.

        Returns when no more come: who is in a call is kept there, so that he does not come again at once.
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
        """While the server drains, until callers know to go elsewhere."""
        if self.draining:
            await self.turned_away.wait()

    async def drained(self, timeout_s: float) -> None:
        """Returns when no call is left, or when the time is over."""
        self.turned_away.set()
        if self.count:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), timeout_s)
