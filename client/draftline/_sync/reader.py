"""A cached reader, blocking."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from contextlib import suppress

from draftline._core import change_calls
from draftline._core.cache import Cache, CacheStats, Fetch, copied
from draftline._core.watch_state import DEFAULT_SILENCE_S, rewatch_s
from draftline._sync.content import ContentMethods
from draftline._sync.watch import Watch
from draftline.models import Change, Record


class CachedReader:
    """A reader that caches records in memory and updates them by a watch. Safe to share between threads.

        with draftline.CachedReader(client, "movies") as reader:
            reader.get("movies", "m-1")  # fetched
            reader.get("movies", "m-1")  # from memory, and as it is now
            print(reader.stats.hits, reader.stats.misses)

    No result is older than the changes that the watch has delivered, which typically lag by
    milliseconds. When its connection breaks, the cache answers for another `max_lost_s` (plus
    `silence_s` if the break went unnoticed). After that, or when the log no longer has the
    missed changes, the cache is cleared, and every record is fetched until the watch is back.

    To read your own writes, pass the version that the write returned; the cache answers if it has that:

        with draftline.CachedReader(client, "movies") as reader:
            written = client.patch_content("movies", "m-1", {"Rating": 9})
            print(reader.get("movies", "m-1", min_version=written.record.version).content["Rating"])  # 9

    The watch runs from the start of the `with` block, or from the first `get`, until `close`.
    """

    def __init__(
        self,
        client: ContentMethods,
        collection: str | None = None,
        *,
        max_records: int = 10_000,
        max_lost_s: float = 10.0,
        silence_s: float = DEFAULT_SILENCE_S,
        tenant_id: str | None = None,
    ) -> None:
        """Create a reader over a client, which must stay open.

        Args:
            collection: the collection to read; None: any of the tenant's.
            max_records: the maximum number of cached records; the least recently read are evicted.
            max_lost_s: seconds that the cache may answer while the watch is disconnected.
            silence_s: as in `Client.watch`.
        """
        self._client = client
        self._collection = collection
        self._tenant_id = client._tenant(tenant_id)
        self._silence_s = silence_s
        self._cache: Cache[Future[Record]] = Cache(max_records, max_lost_s)
        self._lock = threading.Lock()  # guards the attributes below and the cache
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._watch: Watch[Change] | None = None
        self._error: Exception | None = None

    @property
    def stats(self) -> CacheStats:
        """The number of cache hits and misses, and of cached records."""
        with self._lock:
            return self._cache.stats

    @property
    def is_watching(self) -> bool:
        """True if the cache may answer; otherwise every record is fetched."""
        with self._lock:
            return self._cache.is_watching

    @property
    def error(self) -> Exception | None:
        """The error that ended the last watch, until the next one starts. None: it is running, or never was."""
        return self._error

    def get(self, collection: str, record_id: str, *, min_version: int = 0) -> Record:
        """Return the whole record, from the cache or by `get_content`, as a copy that may be modified.

        Concurrent callers share one fetch of the same record.

        Args:
            min_version: the minimum version to return; an older cached record is fetched again.

        Raises:
            NotFoundError: there is no such record, or it is deleted.
            ValueError: the reader watches another collection.
        """
        if self._collection not in (None, collection):
            raise ValueError(f"this reader reads {self._collection!r} alone")
        self._begin()
        key = (collection, record_id)
        while True:
            with self._lock:
                record = self._cache.find(key, min_version)
                shared = self._cache.under_way(key, min_version)
                if record is None and shared is None:
                    mine = self._cache.begin(key, Future())
            if record is not None:
                return copied(record)
            if shared is None:
                return copied(self._fetched(mine))
            with suppress(CancelledError):  # the fetching thread was interrupted
                return copied(shared.future.result())

    def close(self) -> None:
        """End the watch and clear the cache. May be called twice."""
        with self._lock:
            self._closed.set()
            watch, thread = self._watch, self._thread
        if watch is not None:
            watch.close()
        if thread is not None:
            thread.join()

    def __enter__(self) -> CachedReader:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fetched(self, fetch: Fetch[Future[Record]]) -> Record:
        record = None
        try:
            record = self._client.get_content(*fetch.key, tenant_id=self._tenant_id)
            fetch.future.set_result(record)
        except Exception as error:
            fetch.future.set_exception(error)
            raise
        finally:
            fetch.future.cancel()  # has no effect unless this thread was interrupted
            with self._lock:
                self._cache.end(fetch, record)
        return record

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._follow, name="draftline-reader", daemon=True)
                self._thread.start()

    def _follow(self) -> None:
        """Keep the cache up to date, with one watch after another."""
        failures = 0
        while (watch := self._next_watch()) is not None:
            try:
                for changes in watch.messages():
                    with self._lock:
                        self._cache.heard(changes)
                    failures, self._error = 0, None
            except Exception as error:
                failures, self._error = failures + 1, error
                pause_s = rewatch_s(self._client._retry, failures, error)
            else:
                return
            finally:
                watch.close()
                with self._lock:
                    self._cache.stop()
            self._client._pauses.wait(pause_s, self._closed.is_set)

    def _next_watch(self) -> Watch[Change] | None:
        call = change_calls.watch_changes(
            self._tenant_id, self._collection, filter="", resume_token="", omit_values=False
        )
        with self._lock:
            self._watch = None if self._closed.is_set() else Watch(self._client, call, self._silence_s, self._lost)
            return self._watch

    def _lost(self) -> None:
        with self._lock:
            self._cache.lost()
