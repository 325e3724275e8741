# Generated from draftline/_async/client.py by `make generate`; never edited.
"""The client."""

from __future__ import annotations

from draftline._core.arguments import checked_value
from draftline._core.model_adapters import ModelT
from draftline._sync.bulk_writer import BulkWriter
from draftline._sync.changes import ChangeMethods
from draftline._sync.collection import CollectionMethods
from draftline._sync.drafts import DraftMethods
from draftline._sync.imports import ImportMethods
from draftline._sync.matching import MatchingMethods
from draftline._sync.reader import CachedReader
from draftline._sync.session import Session
from draftline._sync.statistics import StatisticsMethods
from draftline._sync.sync import SyncMethods
from draftline._sync.tenants import TenantMethods
from draftline._sync.typed_bulk_writer import TypedBulkWriter
from draftline._sync.typed_collection import TypedCollection
from draftline._sync.watch import Watch


class Client(
    MatchingMethods,
    ImportMethods,
    CollectionMethods,
    DraftMethods,
    StatisticsMethods,
    ChangeMethods,
    SyncMethods,
    TenantMethods,
):
    """A blocking client, safe to share between threads. Use it in a `with` block, or `close` it.

        with draftline.Client("127.0.0.1:50051", tenant_id="acme", user="ada") as client:
            client.patch_content("movies", "m-1", {"Title": "Alien"})
            for collection in client.list_collections():
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
    ) -> TypedCollection[ModelT]:
        """Return a view of a collection whose contents are models of one class.

            from typing import TypedDict

            Movie = TypedDict("Movie", {"Title": str})
            movies = client.collection("movies", Movie)
            film = movies.get("m-1")
            film.model["Title"] = "Alien"
            print((movies.patch(film)).version)

        Args:
            model: a dataclass, a TypedDict, a Pydantic model or a msgspec Struct, such as those that
                `draftline generate` writes. A dataclass may set the key of an attribute by
                `field(metadata={"key": "US Gross"})`; other keys are the names of the attributes.
        """
        checked_value("collection", collection, str)
        checked_value("tenant_id", tenant_id, str | None)
        return TypedCollection(self, collection, model, tenant_id)


__all__ = [
    "BulkWriter",
    "CachedReader",
    "Client",
    "Session",
    "TypedBulkWriter",
    "TypedCollection",
    "Watch",
]
