"""A blocking client with the face of the asyncio one, so that one test body runs over both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import draftline


class Threaded:
    """Runs each call of a blocking client in a thread."""

    def __init__(self, client: draftline.Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name.startswith("list_"):
            return lambda *args, **kwargs: _iterate(method(*args, **kwargs))
        return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)


async def _iterate(items: Iterator[Any]) -> AsyncIterator[Any]:
    over = object()
    while (item := await asyncio.to_thread(next, items, over)) is not over:
        yield item


Connect = Callable[..., AbstractAsyncContextManager[Any]]
