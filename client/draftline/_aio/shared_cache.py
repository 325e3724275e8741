"""A cache of records whose concurrent callers share fetches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from draftline._core.cache import Cache, CacheStats, Fetch, Key, copied
from draftline.models import Change, Record


class SharedCache:
    """A `Cache` for the tasks of one event loop."""

    def __init__(self, max_records: int, max_lost_s: float) -> None:
        self._cache: Cache[asyncio.Future[Record]] = Cache(max_records, max_lost_s)

    @property
    def stats(self) -> CacheStats:
        return self._cache.stats

    @property
    def is_watching(self) -> bool:
        return self._cache.is_watching

    async def get(self, key: Key, min_version: int, fetch: Callable[[Key], Coroutine[Any, Any, Record]]) -> Record:
        """Return a copy of the cached record, or of the one that `fetch` returns."""
        record = self._cache.find(key, min_version)
        if record is None:
            running = self._cache.running_fetch(key, min_version) or self._start(key, fetch)
            # A cancelled waiter must not cancel the fetch, which other callers may share.
            record = await asyncio.shield(running.future)
        return copied(record)

    def apply_changes(self, changes: Iterable[Change]) -> None:
        self._cache.apply_changes(changes)

    def mark_disconnected(self) -> None:
        self._cache.mark_disconnected()

    def stop(self) -> None:
        self._cache.stop()

    def _start(self, key: Key, fetch: Callable[[Key], Coroutine[Any, Any, Record]]) -> Fetch[asyncio.Future[Record]]:
        running = self._cache.begin(key, asyncio.ensure_future(fetch(key)))
        running.future.add_done_callback(partial(self._end, running))
        return running

    def _end(self, fetch: Fetch[asyncio.Future[Record]], future: asyncio.Future[Record]) -> None:
        failed = future.cancelled() or future.exception() is not None
        self._cache.end(fetch, None if failed else future.result())
