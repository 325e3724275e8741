"""Which calls are let in, and in which order: so many run at once, some wait, and the others are refused at once.

A call that is refused has done nothing. What is bounded is the memory that calls take and the time that they wait;
connections are shared out by store/database.py, for many calls may share one statement.

- The next to run is a call of a tenant who has the fewest running, and room is kept for tenants who have none (see
  concurrency/fair_semaphore.py). Else one alone may use everything.
- A tenant may have as many calls waiting as there is room left for others: however many one sends, another finds room.
- Nobody waits for what he will not live to see: who would wait longer than his time, or than the limit, by the rate at
  which calls ended lately, is refused when he comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..concurrency.fair_semaphore import FairSemaphore
from ..domain.errors import DeadlineExceededError, DrainingError, OverloadedError

# Over at least this time, and this many of them, it is counted how many calls end.
PACE_S, PACE_CALLS = 0.2, 16
KEPT_PART = 8  # of the calls that run is kept for tenants who have none
RETRY_S = (0.1, 10.0)  # the least and the most that a caller is asked to wait


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    most: int  # calls that run at once
    most_waiting: int
    most_wait_s: float


class Admission:
    """Decides over the calls of one process."""

    def __init__(self, options: AdmissionOptions) -> None:
        self._turns = FairSemaphore(options.most, options.most // KEPT_PART)
        self._options = options
        self._draining = False
        # How many calls end in a second while others wait, and since when it is counted anew.
        self._per_s: float | None = None
        self._ended_before = 0
        self._since = 0.0

    @property
    def running(self) -> int:
        """Calls that have their turn."""
        return self._turns.taken

    @property
    def waiting(self) -> int:
        """Calls that wait for theirs."""
        return self._turns.waiting

    def turn(self, tenant_id: str, time_left_s: float | None) -> Turn:
        """What a call is to run in: `async with`. OverloadedError, DeadlineExceededError or DrainingError."""
        return Turn(self._turns, tenant_id, lambda: self._wait(tenant_id, time_left_s))

    def next_turn(self, tenant_id: str) -> Turn:
        """The same for a call that was let in before and goes on: it waits as long as it takes."""
        return Turn(self._turns, tenant_id, lambda: self._wait_again(tenant_id))

    def drain(self) -> None:
        """Refuses those who wait, and from now on those who would have to."""
        self._draining = True
        self._turns.fail_waiters(_draining)

    async def _wait(self, tenant_id: str, time_left_s: float | None) -> None:
        """Waits for room, or refuses."""
        if self._draining:
            raise _draining()
        if time_left_s is not None and time_left_s <= 0:
            raise DeadlineExceededError("the call's time is over; nothing was done")
        turns, most_s = self._turns, self._options.most_wait_s
        limit_s = most_s if time_left_s is None else min(most_s, time_left_s)
        self._look()
        waiting = turns.waiting_of(tenant_id)
        # As many of each other tenant come before, but no more than there are.
        ahead = min((waiting + 1) * (turns.waiting_tenants + (not waiting)), turns.waiting + 1)
        if waiting >= self._options.most_waiting - turns.waiting or self._wait_s(ahead) > limit_s:
            raise self._refusal()
        try:
            async with asyncio.timeout(most_s):
                await turns.acquire(tenant_id)
        except TimeoutError:
            raise self._refusal() from None

    async def _wait_again(self, tenant_id: str) -> None:
        if self._draining:
            raise _draining()
        await self._turns.acquire(tenant_id)

    def _look(self) -> None:
        """Keeps the rate up to date, from when the first has to wait until nobody does."""
        now = time.monotonic()
        ended, passed_s = self._turns.ended - self._ended_before, now - self._since
        if not self._turns.waiting:
            self._per_s = None
        elif passed_s < PACE_S:
            return
        else:
            self._per_s = max(ended, 1) / passed_s
            if ended < PACE_CALLS:  # a few slow ones tell little: on
                return
        self._ended_before, self._since = self._turns.ended, now

    def _wait_s(self, ahead: int) -> float:
        """How long so many calls will take; nothing as long as it is not known."""
        return ahead / self._per_s if self._per_s else 0.0

    def _refusal(self) -> OverloadedError:
        turns, (least_s, most_s) = self._turns, RETRY_S
        return OverloadedError(
            f"{turns.taken} calls are under way and {turns.waiting} wait; nothing was done, try again later",
            retry_after_s=min(max(self._wait_s(turns.waiting), least_s), most_s),
        )


class Turn:
    """The time in which a call runs."""

    __slots__ = ("_tenant_id", "_turns", "_wait")

    def __init__(self, turns: FairSemaphore, tenant_id: str, wait: Callable[[], Awaitable[None]]) -> None:
        self._turns = turns
        self._tenant_id = tenant_id
        self._wait = wait

    async def __aenter__(self) -> None:
        if not self._turns.try_acquire(self._tenant_id):
            await self._wait()

    async def __aexit__(self, *_: object) -> None:
        self._turns.release(self._tenant_id)


def _draining() -> DrainingError:
    return DrainingError("the server is stopping; nothing was done, call another one")
