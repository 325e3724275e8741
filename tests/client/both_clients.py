"""A blocking client with the face of the asyncio one, so that one test body runs over both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import draftline

ITERATING = {"list_collections", "get_merged", "stream_merged", "changes"}


class Threaded:
    """Runs each call of a blocking client in a thread."""

    def __init__(self, client: draftline.Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name in ITERATING:
            return lambda *args, **kwargs: _iterate(method(*args, **kwargs))
        return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)

    def session(self, *args: Any, **kwargs: Any) -> ThreadedSession:
        return ThreadedSession(self._client.session(*args, **kwargs))


class ThreadedSession:
    """The same for a session."""

    def __init__(self, session: draftline.Session) -> None:
        self._session = session

    async def __aenter__(self) -> ThreadedSession:
        await asyncio.to_thread(self._session.__enter__)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await asyncio.to_thread(self._session.__exit__, *error)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        if not callable(found):
            return found
        return lambda *args, **kwargs: asyncio.to_thread(found, *args, **kwargs)


async def _iterate(items: Iterator[Any]) -> AsyncIterator[Any]:
    over = object()
    try:
        while (item := await asyncio.to_thread(next, items, over)) is not over:
            yield item
    finally:
        await asyncio.to_thread(items.close)  # type: ignore[attr-defined]  a generator


Connect = Callable[..., AbstractAsyncContextManager[Any]]
