"""The client for asyncio."""

from __future__ import annotations

from draftline.aio.collection import CollectionMethods
from draftline.aio.content import ContentMethods
from draftline.sync import Client


class AsyncClient(ContentMethods, CollectionMethods):
    """`draftline.Client` for asyncio: the same methods, arguments and results, awaited.

        async with draftline.AsyncClient("127.0.0.1:50051", tenant_id="acme", user="ada") as client:
            await client.patch_content("movies", "m-1", {"Title": "Alien"})
            async for collection in client.list_collections():
                print(collection.collection)

    Make it anywhere, and use it in one event loop. `import_content` takes asynchronous
    iterables too.
    """


for _name, _method in vars(AsyncClient.__mro__[1]).items() | vars(AsyncClient.__mro__[2]).items():
    if not _name.startswith("_") and _method.__doc__ is None:
        _method.__doc__ = getattr(Client, _name).__doc__

__all__ = ["AsyncClient"]
