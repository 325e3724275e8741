"""A semaphore that is fair across tenants: the tenant with the fewest permits goes next, ties go round robin, and some
permits are reserved for tenants with none. A tenant that sends much delays only itself.

Not thread-safe. Invariant: no caller waits while a permit is free for its tenant.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

_Queue = OrderedDict[asyncio.Future[None], None]


class FairSemaphore:
    """A semaphore of `most` permits, `kept` of which are reserved for tenants that hold none."""

    def __init__(self, limit: int, reserved: int) -> None:
        self._limit = limit
        self._shared_limit = limit - reserved
        self.in_use = 0
        self.waiting = 0
        self.released = 0  # permits released so far
        self._in_use_by: dict[str, int] = {}  # permits by tenant, without tenants that hold none
        self._queues: OrderedDict[str, _Queue] = OrderedDict()  # by tenant, the one served last at the end

    def waiting_for(self, tenant_id: str) -> int:
        queue = self._queues.get(tenant_id)
        return len(queue) if queue else 0

    @property
    def waiting_tenants(self) -> int:
        return len(self._queues)

    def try_acquire(self, tenant_id: str) -> bool:
        """Acquire a permit without waiting; return False if none is free for the tenant."""
        in_use = self._in_use_by.get(tenant_id, 0)
        if self.in_use >= (self._shared_limit if in_use else self._limit):
            return False
        self.in_use += 1
        self._in_use_by[tenant_id] = in_use + 1
        return True

    async def acquire(self, tenant_id: str) -> None:
        """Acquire a permit, waiting until one is free. A cancelled waiter acquires nothing."""
        if self.try_acquire(tenant_id):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant_id, OrderedDict())[waiter] = None
        self.waiting += 1
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._remove(tenant_id, waiter)
            elif waiter.exception() is None:  # the permit was granted just before the cancellation
                self.release(tenant_id)
            raise

    def release(self, tenant_id: str) -> None:
        """Release a permit, which goes to the next waiter."""
        self.released += 1
        self.in_use -= 1
        remaining = self._in_use_by[tenant_id] - 1
        if remaining:
            self._in_use_by[tenant_id] = remaining
        else:
            del self._in_use_by[tenant_id]
        if self._queues:
            self._grant()

    def fail_waiters(self, error: Callable[[], Exception]) -> None:
        """Fail all waiters, each with a new error."""
        while self._queues:
            tenant_id, queue = next(iter(self._queues.items()))
            waiter = next(iter(queue))
            self._remove(tenant_id, waiter)
            if not waiter.done():
                waiter.set_exception(error())

    def _grant(self) -> None:
        while self._queues:
            next_tenant = min(self._queues, key=lambda waiting: self._in_use_by.get(waiting, 0))
            waiter = next(iter(self._queues[next_tenant]))
            if waiter.done():  # cancelled, but its task has not run yet
                self._remove(next_tenant, waiter)
            elif self.try_acquire(next_tenant):
                self._remove(next_tenant, waiter)
                if next_tenant in self._queues:
                    self._queues.move_to_end(next_tenant)
                waiter.set_result(None)
            else:
                return

    def _remove(self, tenant_id: str, waiter: asyncio.Future[None]) -> None:
        queue = self._queues.get(tenant_id)
        if queue is None or waiter not in queue:
            return
        del queue[waiter]
        self.waiting -= 1
        if not queue:
            del self._queues[tenant_id]
