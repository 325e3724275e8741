"""A queue of requests between the caller's thread and gRPC's sending thread.

gRPC reads the requests of a stream in its own thread. The caller's iterable must be read in
the caller's thread: a database cursor may be bound to it, and its exceptions must reach the
caller, not gRPC's log. At most one item is buffered, so that backpressure from the service
reaches the caller.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class RequestQueue(Generic[ItemT]):
    """A queue of one item, iterated by the consumer. Invariant: a closed queue yields nothing."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[ItemT] = []
        self._has_ended = False
        self._is_closed = False

    def put(self, item: ItemT) -> bool:
        """Wait for room and enqueue the item. Return False, dropping the item, if the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._waiting)
            if self._is_closed:
                return False
            self._waiting.append(item)
            self._changed.notify_all()
            return True

    def end(self) -> None:
        """Mark the end of the items; an item that is still buffered is yielded first."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop the iteration and reject further items, because the call is over."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __iter__(self) -> RequestQueue[ItemT]:
        return self

    def __next__(self) -> ItemT:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting or self._has_ended)
            if self._is_closed or not self._waiting:
                raise StopIteration
            item = self._waiting.pop()
            self._changed.notify_all()
            return item
