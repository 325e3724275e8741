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

    def __init__(self, most: int, kept: int) -> None:
        self._most = most
        self._most_of_others = most - kept
        self.taken = 0
        self.waiting = 0
        self.ended = 0  # permits released so far
        self._taken_by: dict[str, int] = {}  # permits by tenant, without tenants that hold none
        self._queues: OrderedDict[str, _Queue] = OrderedDict()  # by tenant, the one served last at the end

    def waiting_of(self, tenant_id: str) -> int:
        queue = self._queues.get(tenant_id)
        return len(queue) if queue else 0

    @property
    def waiting_tenants(self) -> int:
        return len(self._queues)

    def try_acquire(self, tenant_id: str) -> bool:
        """Acquire a permit without waiting; return False if none is free for the tenant."""
        taken = self._taken_by.get(tenant_id, 0)
        if self.taken >= (self._most_of_others if taken else self._most):
            return False
        self.taken += 1
        self._taken_by[tenant_id] = taken + 1
        return True

    async def acquire(self, tenant_id: str) -> None:
        """Acquire a permit, waiting until one is free. A cancelled waiter acquires nothing."""
        if self.try_acquire(tenant_id):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant_id, OrderedDict())[turn] = None
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(tenant_id, turn)
            elif turn.exception() is None:  # the permit was granted just before the cancellation
                self.release(tenant_id)
            raise

    def release(self, tenant_id: str) -> None:
        """Release a permit, which goes to the next waiter."""
        self.ended += 1
        self.taken -= 1
        left = self._taken_by[tenant_id] - 1
        if left:
            self._taken_by[tenant_id] = left
        else:
            del self._taken_by[tenant_id]
        if self._queues:
            self._pass_on()

    def fail_waiters(self, error: Callable[[], Exception]) -> None:
        """Fail all waiters, each with a new error."""
        while self._queues:
            tenant_id, queue = next(iter(self._queues.items()))
            turn = next(iter(queue))
            self._leave(tenant_id, turn)
            if not turn.done():
                turn.set_exception(error())

    def _pass_on(self) -> None:
        while self._queues:
            following = min(self._queues, key=lambda waiting: self._taken_by.get(waiting, 0))
            turn = next(iter(self._queues[following]))
            if turn.done():  # cancelled, but its task has not run yet
                self._leave(following, turn)
            elif self.try_acquire(following):
                self._leave(following, turn)
                if following in self._queues:
                    self._queues.move_to_end(following)
                turn.set_result(None)
            else:
                return

    def _leave(self, tenant_id: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(tenant_id)
        if queue is None or turn not in queue:
            return
        del queue[turn]
        self.waiting -= 1
        if not queue:
            del self._queues[tenant_id]
