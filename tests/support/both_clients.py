"""An adapter that gives the blocking client the interface of the asyncio client, so one test covers both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import draftline

ITERATING = {"records", "stream", "list_collections", "get_merged", "stream_merged", "changes", "messages"}
_OVER = object()


class Threaded:
    """A blocking client whose calls run in threads."""

    def __init__(self, client: draftline.Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name in ITERATING:
            return lambda *args, **kwargs: _iterate(method(*args, **kwargs))
        return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)

    def collection(self, *args: Any, **kwargs: Any) -> Threaded:
        return Threaded(self._client.collection(*args, **kwargs))

    def session(self, *args: Any, **kwargs: Any) -> ThreadedBlock:
        return ThreadedBlock(self._client.session(*args, **kwargs))

    def watch(self, *args: Any, **kwargs: Any) -> ThreadedBlock:
        return ThreadedBlock(self._client.watch(*args, **kwargs))

    def watch_merged(self, *args: Any, **kwargs: Any) -> ThreadedBlock:
        return ThreadedBlock(self._client.watch_merged(*args, **kwargs))

    def bulk_writer(self, *args: Any, **kwargs: Any) -> ThreadedBlock:
        return ThreadedBlock(self._client.bulk_writer(*args, **kwargs))

    def reader(self, *args: Any, **kwargs: Any) -> ThreadedBlock:
        return ThreadedBlock(draftline.CachedReader(self._client, *args, **kwargs))


class ThreadedBlock:
    """A context manager of the blocking client (a session, a watch, a reader) whose calls run in threads."""

    def __init__(self, block: Any) -> None:
        self._block = block

    async def __aenter__(self) -> ThreadedBlock:
        await asyncio.to_thread(self._block.__enter__)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await asyncio.to_thread(self._block.__exit__, *error)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._block, name)
        if name in ITERATING:
            return lambda: _iterate(found())
        if not callable(found):
            return found
        return lambda *args, **kwargs: asyncio.to_thread(found, *args, **kwargs)

    def __aiter__(self) -> ThreadedBlock:
        return self

    async def __anext__(self) -> Any:
        item = await asyncio.to_thread(next, self._block, _OVER)
        if item is _OVER:
            raise StopAsyncIteration
        return item


def reader_of(client: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a cached reader of the same kind as the client."""
    if isinstance(client, Threaded):
        return client.reader(*args, **kwargs)
    return draftline.AsyncCachedReader(client, *args, **kwargs)


async def _iterate(items: Iterator[Any]) -> AsyncIterator[Any]:
    try:
        while (item := await asyncio.to_thread(next, items, _OVER)) is not _OVER:
            yield item
    finally:
        await asyncio.to_thread(items.close)  # type: ignore[attr-defined]  a generator


Connect = Callable[..., AbstractAsyncContextManager[Any]]
