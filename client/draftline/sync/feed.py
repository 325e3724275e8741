"""Hands items from the thread that has them to the thread that gRPC sends from.

gRPC reads the requests of a stream in a thread of its own. The caller's iterable stays in
the caller's thread: a database cursor may be bound to it, and what it raises must reach
the caller, not gRPC's log. At most one item waits at a time, so that the caller is held
back while the service is.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class Feed(Generic[ItemT]):
    """An iterator over what is put into it. Invariant: nothing is given once it is closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[ItemT] = []
        self._has_ended = False
        self._is_closed = False

    def put(self, item: ItemT) -> bool:
        """Waits for room and puts the item there. False: the feed was closed, the item is dropped."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._waiting)
            if self._is_closed:
                return False
            self._waiting.append(item)
            self._changed.notify_all()
            return True

    def end(self) -> None:
        """Nothing more will come; what waits is still given."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody takes any more: the call is over."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __iter__(self) -> Feed[ItemT]:
        return self

    def __next__(self) -> ItemT:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting or self._has_ended)
            if self._is_closed or not self._waiting:
                raise StopIteration
            item = self._waiting.pop()
            self._changed.notify_all()
            return item
