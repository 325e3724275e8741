"""The client."""

from __future__ import annotations

from draftline._async.bulk_writer import AsyncBulkWriter
from draftline._async.changes import ChangeMethods
from draftline._async.collection import CollectionMethods
from draftline._async.drafts import DraftMethods
from draftline._async.imports import ImportMethods
from draftline._async.matching import MatchingMethods
from draftline._async.reader import AsyncCachedReader
from draftline._async.session import AsyncSession
from draftline._async.statistics import StatisticsMethods
from draftline._async.sync import SyncMethods
from draftline._async.tenants import TenantMethods
from draftline._async.typed_bulk_writer import AsyncTypedBulkWriter
from draftline._async.typed_collection import AsyncTypedCollection
from draftline._async.watch import AsyncWatch
from draftline._core.arguments import checked_value
from draftline._core.model_adapters import ModelT


class AsyncClient(
    MatchingMethods,
    ImportMethods,
    CollectionMethods,
    DraftMethods,
    StatisticsMethods,
    ChangeMethods,
    SyncMethods,
    TenantMethods,
):
    """A client for asyncio, for use in one event loop. Use it in an `async with` block, or `close` it.

        async with draftline.AsyncClient("127.0.0.1:50051", tenant_id="acme", user="ada") as client:
            await client.patch_content("movies", "m-1", {"Title": "Alien"})
            async for collection in client.list_collections():
                print(collection.collection)

    Every method takes `tenant_id`, which overrides the client's own, and `timeout` in seconds
    (None: no limit). A failed call raises a subclass of `DraftlineError`; arguments that cannot
    be sent raise ValueError or TypeError.

    Every method that writes takes `request_id`, an idempotency key (AIP-155, a UUID): repeated
    with the same id within 24 hours, a call returns the same response and writes nothing. A call
    without one generates its own, so it can be retried while the service is unavailable (see
    `Retry`). `request_id=""` sends no id and disables retries. Most methods that write also take
    `change_reason`, a free text that is stored in the change log.
    """

    def collection(
        self, collection: str, model: type[ModelT], *, tenant_id: str | None = None
    ) -> AsyncTypedCollection[ModelT]:
        """Return a view of a collection whose contents are models of one class.

            from typing import TypedDict

            Movie = TypedDict("Movie", {"Title": str})
            movies = client.collection("movies", Movie)
            film = await movies.get("m-1")
            film.model["Title"] = "Alien"
            print((await movies.patch(film)).version)

        Args:
            model: a dataclass, a TypedDict, a Pydantic model or a msgspec Struct, such as those that
                `draftline generate` writes. A dataclass may set the key of an attribute by
                `field(metadata={"key": "US Gross"})`; other keys are the names of the attributes.
        """
        checked_value("collection", collection, str)
        checked_value("tenant_id", tenant_id, str | None)
        return AsyncTypedCollection(self, collection, model, tenant_id)


__all__ = [
    "AsyncBulkWriter",
    "AsyncCachedReader",
    "AsyncClient",
    "AsyncSession",
    "AsyncTypedBulkWriter",
    "AsyncTypedCollection",
    "AsyncWatch",
]
