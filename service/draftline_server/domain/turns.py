"""Turns: so many at once and no more. Those who wait come in rotation, one of each tenant, so that whoever sends much
waits for himself.

Not for several threads. Invariants: nobody waits while there is room; a turn that ends passes to the next who waits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

_Queue = OrderedDict[asyncio.Future[None], None]


class Turns:
    """At most so many at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.waiting = 0
        self._queues: OrderedDict[str, _Queue] = OrderedDict()  # by tenant; the first is the next to be served

    def waiting_of(self, tenant_id: str) -> int:
        queue = self._queues.get(tenant_id)
        return len(queue) if queue else 0

    @property
    def waiting_tenants(self) -> int:
        return len(self._queues)

    def take_now(self) -> bool:
        """A turn, if there is room."""
        if self.taken < self.most:
            self.taken += 1
            return True
        return False

    async def take(self, tenant_id: str) -> None:
        """A turn, now or when it comes. Who is cancelled while he waits gets none."""
        if self.take_now():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant_id, OrderedDict())[turn] = None
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(tenant_id, turn)
            elif turn.exception() is None:  # it had just come
                self.give_back()
            raise

    def give_back(self) -> None:
        """Ends a turn, which passes to the next who waits."""
        while self._queues:
            tenant_id, queue = next(iter(self._queues.items()))
            turn = next(iter(queue))
            self._leave(tenant_id, turn)
            if not turn.done():  # else he was cancelled, and does not know yet
                if queue:
                    self._queues.move_to_end(tenant_id)
                turn.set_result(None)
                return
        self.taken -= 1

    def turn_away(self, error: Callable[[], Exception]) -> None:
        """Fails all who wait."""
        while self._queues:
            tenant_id, queue = next(iter(self._queues.items()))
            turn = next(iter(queue))
            self._leave(tenant_id, turn)
            if not turn.done():
                turn.set_exception(error())

    def _leave(self, tenant_id: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(tenant_id)
        if queue is None or turn not in queue:
            return
        del queue[turn]
        self.waiting -= 1
        if not queue:
            del self._queues[tenant_id]
