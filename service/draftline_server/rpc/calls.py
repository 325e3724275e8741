"""The calls of a server as a whole: how many there are, and whether more may come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ..domain.errors import DrainingError, OverloadedError
from .admission import Admission
from .auth import Authenticator
from .identity import Identity
from .once import Once
from .telemetry import Call, Method, Telemetry

# No more calls come when there were none in so many intervals; there are so many of these at most.
SETTLE_S, SETTLE_QUIET, SETTLE_MOST = 0.02, 4, 50


@dataclass(slots=True)
class Calls:
    """What the calls of a server share: who makes them, their limits, how many there are, and whether it drains."""

    once: Once
    authenticator: Authenticator
    admission: Admission
    most: int  # calls at once, of callers who are known
    call_timeout_s: float  # of a unary call
    idle_timeout_s: float  # of the other end of a stream: between two messages that it sends, or until it reads one
    wrote: Callable[[str], None]  # called with the tenant of each call that may have written
    telemetry: Telemetry
    count: int = 0
    begun: int = 0  # ever
    known: int = 0  # of these, whose callers were identified
    draining: bool = False
    turned_away: asyncio.Event = field(default_factory=asyncio.Event)  # set once callers know to go elsewhere
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def come(self, method: Method) -> Call:
        """A call has come; `gone` when it is over."""
        self.count += 1
        self.begun += 1
        self.idle.clear()
        return self.telemetry.began(method)

    def admit(self, call: Call, identity: Identity) -> None:
        """grpc's own limit, maximum_concurrent_rpcs, lets everything pass once it was reached (1.78)."""
        if self.known >= self.most:
            raise OverloadedError(f"{self.most} calls are under way already; nothing was done, try again later")
        self.known += 1
        call.is_admitted = True
        call.user_id = identity.user_id

    def gone(self, call: Call) -> None:
        self.known -= call.is_admitted
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
