"""Admission control: a limited number of calls run, a limited number wait, and further calls are rejected at once.

A rejected call has done nothing. Admission bounds the memory and the waiting time of calls; database connections are
allocated separately in store/database.py, because many calls may share one statement.

- The next call to run is from a tenant with the fewest running calls, and some slots are reserved for tenants with
  none (see concurrency/fair_semaphore.py). Otherwise one tenant could use all slots.
- A tenant may have at most as many waiting calls as there are free places in the queue, so no tenant can fill it.
- A call is rejected at once if its queueing time, estimated from the rate at which calls ended recently, exceeds its
  deadline or the maximum waiting time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..concurrency.fair_semaphore import FairSemaphore
from ..domain.errors import DeadlineExceededError, DrainingError, OverloadedError

# The rate at which calls end is measured over at least this time and this many calls.
PACE_S, PACE_CALLS = 0.2, 16
KEPT_PART = 8  # 1/KEPT_PART of the slots is reserved for tenants with no running call
RETRY_S = (0.1, 10.0)  # minimum and maximum of the retry delay that a rejected caller is given


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    most: int  # calls that run concurrently
    most_waiting: int
    most_wait_s: float


class Admission:
    """Admission control for the calls of one process."""

    def __init__(self, options: AdmissionOptions) -> None:
        self._turns = FairSemaphore(options.most, options.most // KEPT_PART)
        self._options = options
        self._draining = False
        # Calls ended per second while others wait, and the start of the current measurement.
        self._per_s: float | None = None
        self._ended_before = 0
        self._since = 0.0

    @property
    def running(self) -> int:
        """The number of calls that hold a slot."""
        return self._turns.taken

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a slot."""
        return self._turns.waiting

    def turn(self, tenant_id: str, time_left_s: float | None) -> Turn:
        """Return an async context manager that holds a slot for a new call.

        Entering it raises OverloadedError, DeadlineExceededError or DrainingError if the call is rejected.
        """
        return Turn(self._turns, tenant_id, lambda: self._wait(tenant_id, time_left_s))

    def next_turn(self, tenant_id: str) -> Turn:
        """Return the same for an admitted call that continues. It waits for a slot without a time limit."""
        return Turn(self._turns, tenant_id, lambda: self._wait_again(tenant_id))

    def drain(self) -> None:
        """Reject all waiting calls, and from now on every call that would have to wait."""
        self._draining = True
        self._turns.fail_waiters(_draining)

    async def _wait(self, tenant_id: str, time_left_s: float | None) -> None:
        """Wait for a slot, or raise the error that rejects the call."""
        if self._draining:
            raise _draining()
        if time_left_s is not None and time_left_s <= 0:
            raise DeadlineExceededError("the call's time is over; nothing was done")
        turns, most_s = self._turns, self._options.most_wait_s
        limit_s = most_s if time_left_s is None else min(most_s, time_left_s)
        self._look()
        waiting = turns.waiting_of(tenant_id)
        # Every other waiting tenant gets as many slots before this call, up to the number of waiters.
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
        """Update the rate of ended calls. It is measured only while calls wait."""
        now = time.monotonic()
        ended, passed_s = self._turns.ended - self._ended_before, now - self._since
        if not self._turns.waiting:
            self._per_s = None
        elif passed_s < PACE_S:
            return
        else:
            self._per_s = max(ended, 1) / passed_s
            if ended < PACE_CALLS:  # too few for a reliable rate: continue the measurement
                return
        self._ended_before, self._since = self._turns.ended, now

    def _wait_s(self, ahead: int) -> float:
        """Estimate the seconds until `ahead` calls have ended; 0 while the rate is unknown."""
        return ahead / self._per_s if self._per_s else 0.0

    def _refusal(self) -> OverloadedError:
        turns, (least_s, most_s) = self._turns, RETRY_S
        return OverloadedError(
            f"{turns.taken} calls are under way and {turns.waiting} wait; nothing was done, try again later",
            retry_after_s=min(max(self._wait_s(turns.waiting), least_s), most_s),
        )


class Turn:
    """An async context manager that holds a slot while a call runs."""

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
