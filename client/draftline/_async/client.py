"""The client for asyncio."""

from __future__ import annotations

from draftline._async.changes import ChangeMethods
from draftline._async.collection import CollectionMethods
from draftline._async.content import ContentMethods
from draftline._async.drafts import DraftMethods
from draftline._async.imports import ImportMethods
from draftline._async.merged import MergedMethods
from draftline._async.reader import AsyncCachedReader
from draftline._async.session import AsyncSession
from draftline._async.watch import AsyncWatch
from draftline._sync.client import CachedReader, Client, Session, Watch


class AsyncClient(ContentMethods, ImportMethods, CollectionMethods, DraftMethods, MergedMethods, ChangeMethods):
    """`draftline.Client` for asyncio: the same methods, arguments and results, awaited.

        async with draftline.AsyncClient("127.0.0.1:50051", tenant_id="acme", user="ada") as client:
            await client.patch_content("movies", "m-1", {"Title": "Alien"})
            async for collection in client.list_collections():
                print(collection.collection)

    Create it anywhere, and use it in one event loop. `import_content` also takes asynchronous
    iterables, lists and watches are iterated with `async for`, and sessions and watches are
    `async with` blocks.
    """


_PAIRS: tuple[tuple[type, type], ...] = (
    (AsyncClient, Client),
    (AsyncSession, Session),
    (AsyncWatch, Watch),
    (AsyncCachedReader, CachedReader),
)

for _ours, _theirs in _PAIRS:
    for _class in _ours.__mro__[:-1]:
        for _name, _method in vars(_class).items():
            if not _name.startswith("_") and _method.__doc__ is None:
                _method.__doc__ = getattr(_theirs, _name).__doc__

__all__ = ["AsyncCachedReader", "AsyncClient", "AsyncSession", "AsyncWatch"]
