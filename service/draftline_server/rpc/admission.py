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
from contextlib import nullcontext
from dataclasses import dataclass

from ..concurrency.fair_semaphore import FairSemaphore
from ..domain.errors import DeadlineExceededError, DrainingError, OverloadedError

# The rate at which calls end is measured over at least this time and this many calls.
RATE_WINDOW_S, MIN_RATE_CALLS = 0.2, 16
RESERVED_DIVISOR = 8  # 1/RESERVED_DIVISOR of the slots is reserved for tenants with no running call
RETRY_DELAY_S = (0.1, 10.0)  # minimum and maximum of the retry delay that a rejected caller is given


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    max_running: int  # calls that run concurrently
    queue_limit: int
    queue_timeout_s: float


class Admission:
    """Admission control for the calls of one process."""

    def __init__(self, options: AdmissionOptions) -> None:
        self._slots = FairSemaphore(options.max_running, options.max_running // RESERVED_DIVISOR)
        self._options = options
        self._draining = False
        # Calls ended per second while others wait, and the start of the current measurement.
        self._calls_per_s: float | None = None
        self._ended_at_start = 0
        self._started_at = 0.0

    @property
    def running(self) -> int:
        """The number of calls that hold a slot."""
        return self._slots.in_use

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a slot."""
        return self._slots.waiting

    def slot(self, tenant_id: str, time_left_s: float | None) -> Slot:
        """Return an async context manager that holds a slot for a new call.

        Entering it raises OverloadedError, DeadlineExceededError or DrainingError if the call is rejected.
        """
        return Slot(self._slots, tenant_id, lambda: self._wait(tenant_id, time_left_s))

    def next_slot(self, tenant_id: str, turn: asyncio.Lock | None = None) -> Slot:
        """Return the same for an admitted call that continues. It waits for a slot without a time limit.

        A call that needs several slots at once passes its lock as `turn`: only one of them is waited for at a time, so
        the call takes one place in the queue.
        """
        return Slot(self._slots, tenant_id, lambda: self._wait_to_continue(tenant_id, turn))

    async def acquire_slots(self, tenant_id: str, limit: int, turn: asyncio.Lock) -> int:
        """Acquire free slots for an admitted call that continues, as `next_slot` does; at least one.

        Return their number. Each must be released.
        """
        acquired = 0
        while acquired < limit and self._slots.try_acquire(tenant_id):
            acquired += 1
        if not acquired:
            await self._wait_to_continue(tenant_id, turn)
        return max(1, acquired)

    def release_slot(self, tenant_id: str) -> None:
        """Release one of the acquired slots."""
        self._slots.release(tenant_id)

    def drain(self) -> None:
        """Reject all waiting calls, and from now on every call that would have to wait."""
        self._draining = True
        self._slots.fail_waiters(_draining)

    async def _wait(self, tenant_id: str, time_left_s: float | None) -> None:
        """Wait for a slot, or raise the error that rejects the call."""
        if self._draining:
            raise _draining()
        if time_left_s is not None and time_left_s <= 0:
            raise DeadlineExceededError("the deadline of the call has passed; nothing was done")
        slots, max_s = self._slots, self._options.queue_timeout_s
        limit_s = max_s if time_left_s is None else min(max_s, time_left_s)
        self._update_rate()
        waiting = slots.waiting_for(tenant_id)
        # Every other waiting tenant gets as many slots before this call, up to the number of waiters.
        ahead = min((waiting + 1) * (slots.waiting_tenants + (not waiting)), slots.waiting + 1)
        if waiting >= self._options.queue_limit - slots.waiting or self._estimated_wait_s(ahead) > limit_s:
            raise self._overloaded()
        try:
            async with asyncio.timeout(max_s):
                await slots.acquire(tenant_id)
        except TimeoutError:
            raise self._overloaded() from None

    async def _wait_to_continue(self, tenant_id: str, turn: asyncio.Lock | None) -> None:
        async with turn or nullcontext():
            if self._draining:
                raise _draining()
            self._update_rate()  # otherwise the next call would measure it since long before there was a queue
            await self._slots.acquire(tenant_id)

    def _update_rate(self) -> None:
        """Update the rate of ended calls. It is measured only while calls wait."""
        now = time.monotonic()
        ended, elapsed_s = self._slots.released - self._ended_at_start, now - self._started_at
        if not self._slots.waiting:
            self._calls_per_s = None
        elif elapsed_s < RATE_WINDOW_S:
            return
        else:
            self._calls_per_s = max(ended, 1) / elapsed_s
            if ended < MIN_RATE_CALLS:  # too few for a reliable rate: continue the measurement
                return
        self._ended_at_start, self._started_at = self._slots.released, now

    def _estimated_wait_s(self, ahead: int) -> float:
        """Estimate the seconds until `ahead` calls have ended; 0 while the rate is unknown."""
        return ahead / self._calls_per_s if self._calls_per_s else 0.0

    def _overloaded(self) -> OverloadedError:
        slots, (min_s, max_s) = self._slots, RETRY_DELAY_S
        return OverloadedError(
            f"{slots.in_use} calls are running and {slots.waiting} are waiting; nothing was done, try again later",
            retry_after_s=min(max(self._estimated_wait_s(slots.waiting), min_s), max_s),
        )


class Slot:
    """An async context manager that holds a slot while a call runs."""

    __slots__ = ("_slots", "_tenant_id", "_wait")

    def __init__(self, slots: FairSemaphore, tenant_id: str, wait: Callable[[], Awaitable[None]]) -> None:
        self._slots = slots
        self._tenant_id = tenant_id
        self._wait = wait

    async def __aenter__(self) -> None:
        if not self._slots.try_acquire(self._tenant_id):
            await self._wait()

    async def __aexit__(self, *_: object) -> None:
        self._slots.release(self._tenant_id)


def _draining() -> DrainingError:
    return DrainingError("the server is shutting down; nothing was done, retry on another server")
