"""A cached reader for asyncio. Its docstrings are copied from the blocking one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from draftline._async.content import ContentMethods
from draftline._async.watch import AsyncWatch
from draftline._core import change_calls
from draftline._core.cache import Cache, CacheStats, Fetch, copied
from draftline._core.watch_state import DEFAULT_SILENCE_S, rewatch_s
from draftline.models import Record


class AsyncCachedReader:
    """`draftline.CachedReader` for asyncio. Use it in one event loop.

    async with draftline.AsyncCachedReader(client, "movies") as reader:
        await reader.get("movies", "m-1")
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
        self._client = client
        self._collection = collection
        self._tenant_id = client._tenant(tenant_id)
        self._silence_s = silence_s
        self._cache: Cache[asyncio.Future[Record]] = Cache(max_records, max_lost_s)
        self._is_closed = False
        self._following: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    @property
    def stats(self) -> CacheStats:
        return self._cache.stats

    @property
    def is_watching(self) -> bool:
        return self._cache.is_watching

    @property
    def error(self) -> Exception | None:
        return self._error

    async def get(self, collection: str, record_id: str, *, min_version: int = 0) -> Record:
        if self._collection not in (None, collection):
            raise ValueError(f"this reader reads {self._collection!r} alone")
        self._begin()
        key = (collection, record_id)
        record = self._cache.find(key, min_version)
        if record is None:
            fetch = self._cache.under_way(key, min_version) or self._fetch(key)
            # A cancelled waiter must not cancel the fetch, which other callers may share.
            record = await asyncio.shield(fetch.future)
        return copied(record)

    async def close(self) -> None:
        self._is_closed = True
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following

    async def __aenter__(self) -> AsyncCachedReader:
        self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _fetch(self, key: tuple[str, str]) -> Fetch[asyncio.Future[Record]]:
        getting = self._client.get_content(*key, tenant_id=self._tenant_id)
        fetch = self._cache.begin(key, asyncio.ensure_future(getting))
        fetch.future.add_done_callback(partial(self._end, fetch))
        return fetch

    def _end(self, fetch: Fetch[asyncio.Future[Record]], future: asyncio.Future[Record]) -> None:
        failed = future.cancelled() or future.exception() is not None
        self._cache.end(fetch, None if failed else future.result())

    def _begin(self) -> None:
        if self._following is None and not self._is_closed:
            self._following = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        """Keep the cache up to date, with one watch after another."""
        call = change_calls.watch_changes(
            self._tenant_id, self._collection, filter="", resume_token="", omit_values=False
        )
        failures = 0
        while True:
            watch = AsyncWatch(self._client, call, self._silence_s, self._cache.lost)
            try:
                async for changes in watch.messages():
                    self._cache.heard(changes)
                    failures, self._error = 0, None
            except Exception as error:
                failures, self._error = failures + 1, error
                pause_s = rewatch_s(self._client._retry, failures, error)
            else:
                return
            finally:
                await watch.close()
                self._cache.stop()
            await asyncio.sleep(pause_s)
