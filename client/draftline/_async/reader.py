"""A cached reader."""

from __future__ import annotations

import asyncio

from draftline._aio.background_task import BackgroundTask
from draftline._aio.shared_cache import SharedCache
from draftline._async.content import ContentMethods
from draftline._async.watch import AsyncWatch
from draftline._core import change_calls
from draftline._core.arguments import checked_duration, checked_value
from draftline._core.cache import CacheStats, Key
from draftline._core.watch_state import DEFAULT_SILENCE_S, rewatch_delay_s
from draftline.models import Change, Record


class AsyncCachedReader:
    """A reader that caches records in memory and updates them by a watch. For use in one event loop.

        async with draftline.AsyncCachedReader(client, "movies") as reader:
            await reader.get("movies", "m-1")  # fetched
            await reader.get("movies", "m-1")  # from memory, and up to date
            print(reader.stats.hits, reader.stats.misses)

    No result is older than the changes that the watch has delivered, which typically lag by
    milliseconds. When its connection breaks, the cache answers for another `max_lost_s` (plus
    `silence_s` if the break went unnoticed). After that, or when the missed changes are older
    than the log, the cache is cleared, and every record is fetched until the watch is back.

    To read your own writes, pass the version that the write returned; the cache answers if it has that:

        async with draftline.AsyncCachedReader(client, "movies") as reader:
            written = await client.patch_content("movies", "m-1", {"Rating": 9})
            film = await reader.get("movies", "m-1", min_version=written.record.version)
            print(film.content["Rating"])  # 9

    The watch runs from the start of the `async with` block, or from the first `get`, until `close`.
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
            silence_s: as in `AsyncClient.watch`.
        """
        checked_value("collection", collection, str | None)
        checked_duration("max_lost_s", max_lost_s)
        checked_duration("silence_s", silence_s)
        self._client = client
        self._collection = collection
        self._tenant_id = client._tenant(tenant_id)
        self._silence_s = silence_s
        self._cache = SharedCache(max_records, max_lost_s)
        self._closed = asyncio.Event()
        self._following = BackgroundTask(self._follow)
        self._watch: AsyncWatch[Change] | None = None
        self._error: Exception | None = None

    @property
    def stats(self) -> CacheStats:
        """The number of cache hits and misses, and of cached records."""
        return self._cache.stats

    @property
    def is_watching(self) -> bool:
        """True if the cache may answer; otherwise every record is fetched."""
        return self._cache.is_watching

    @property
    def error(self) -> Exception | None:
        """The error that ended the last watch, until the next one starts. None: it is running, or never was."""
        return self._error

    async def get(self, collection: str, record_id: str, *, min_version: int = 0) -> Record:
        """Return the whole record, from the cache or by `get_content`, as a copy that may be modified.

        Concurrent callers share one fetch of the same record.

        Args:
            min_version: the minimum version to return; an older cached record is fetched again.

        Raises:
            NotFoundError: there is no such record, or it is deleted.
            ValueError: the reader reads another collection.
        """
        if self._collection not in (None, collection):
            raise ValueError(f"this reader is for the collection {self._collection!r}, not {collection!r}")
        self._begin()
        return await self._cache.get((collection, record_id), min_version, self._fetch)

    async def close(self) -> None:
        """End the watch and clear the cache. May be called twice."""
        self._closed.set()
        if self._watch is not None:
            await self._watch.close()
        await self._following.stop()

    async def __aenter__(self) -> AsyncCachedReader:
        self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _fetch(self, key: Key) -> Record:
        return await self._client.get_content(*key, tenant_id=self._tenant_id)

    def _begin(self) -> None:
        if not self._closed.is_set():
            self._following.start()

    async def _follow(self) -> None:
        """Keep the cache up to date, with one watch after another."""
        failures = 0
        while True:
            watch = self._new_watch()
            try:
                if self._closed.is_set():  # `close` may have run before this watch was assigned
                    return
                async for changes in watch.messages():
                    self._cache.apply_changes(changes)
                    failures, self._error = 0, None
            except Exception as error:
                failures, self._error = failures + 1, error
                pause_s = rewatch_delay_s(self._client._retry, failures, error)
            else:
                return
            finally:
                await watch.close()
                self._cache.stop()
            await self._client._reconnect_wait.wait(pause_s, self._closed)

    def _new_watch(self) -> AsyncWatch[Change]:
        call = change_calls.watch_changes(
            self._tenant_id, self._collection, filter="", resume_token="", omit_values=False
        )
        self._watch = AsyncWatch(self._client, call, self._silence_s, self._cache.mark_disconnected)
        return self._watch
