"""A cache of records whose concurrent callers share fetches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from contextlib import suppress

from draftline._core.cache import Cache, CacheStats, Fetch, Key, copied
from draftline.models import Change, Record


class SharedCache:
    """A `Cache` that is safe to share between threads."""

    def __init__(self, max_records: int, max_lost_s: float) -> None:
        self._cache: Cache[Future[Record]] = Cache(max_records, max_lost_s)
        self._lock = threading.Lock()  # guards the cache

    @property
    def stats(self) -> CacheStats:
        with self._lock:
            return self._cache.stats

    @property
    def is_watching(self) -> bool:
        with self._lock:
            return self._cache.is_watching

    def get(self, key: Key, min_version: int, fetch: Callable[[Key], Record]) -> Record:
        """Return a copy of the cached record, or of the one that `fetch` returns."""
        while True:
            with self._lock:
                record = self._cache.find(key, min_version)
                shared = self._cache.running_fetch(key, min_version)
                if record is None and shared is None:
                    mine = self._cache.begin(key, Future())
            if record is not None:
                return copied(record)
            if shared is None:
                return copied(self._fetched(mine, fetch))
            with suppress(CancelledError):  # the fetching thread was interrupted
                return copied(shared.future.result())

    def apply_changes(self, changes: Iterable[Change]) -> None:
        with self._lock:
            self._cache.apply_changes(changes)

    def mark_disconnected(self) -> None:
        with self._lock:
            self._cache.mark_disconnected()

    def stop(self) -> None:
        with self._lock:
            self._cache.stop()

    def _fetched(self, running: Fetch[Future[Record]], fetch: Callable[[Key], Record]) -> Record:
        record = None
        try:
            record = fetch(running.key)
            running.future.set_result(record)
        except Exception as error:
            running.future.set_exception(error)
            raise
        finally:
            running.future.cancel()  # has no effect unless this thread was interrupted
            with self._lock:
                self._cache.end(running, record)
        return record
