"""The methods of CollectionService, blocking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from draftline import collection_calls
from draftline.models import UNSET, ChangeHistory, Collection, DeclaredField, FieldType, Unset
from draftline.requests import OrderLike
from draftline.sync.transport import Transport


class CollectionMethods(Transport):
    def put_collection(
        self,
        collection: str,
        *,
        fields: Iterable[DeclaredField] | Mapping[str, FieldType | str] = (),
        orders: Iterable[OrderLike] = (),
        json_schema: Mapping[str, Any] | None = None,
        history: ChangeHistory | str = ChangeHistory.VALUES,
        expected_version: int | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Collection:
        """Declares a collection, or replaces its declaration as a whole, and builds its indexes.

            client.put_collection(
                "movies",
                fields={"/Title": "text", "/IMDB Rating": "number"},
                orders=[[SortKey("/IMDB Rating", descending=True), "/Title"]],
            )

        Returns when the indexes are built. If the timeout passes first, the build goes on,
        and `get_collection` tells how far it is.

        Args:
            fields: types by path, at most 32; each field gets an index. As a list of `DeclaredField`, each may
                refuse what it cannot hold.
            orders: further orders to keep in indexes, at most 16, each of 1 to 4 paths.
            json_schema: what content must satisfy from now on, up to 256 KiB.
            history: what the change log keeps: "values" (the default), or "paths" alone, which is
                smaller, and whose changes cannot be reverted.
            expected_version: the version that the declaration must have; 0: must not exist.
            validate_only: checks everything and answers as if it had been written.

        Raises:
            VersionMismatchError: it is not at `expected_version`.
            FailedPreconditionError: what is stored cannot be indexed, or is what a field is to refuse.
        """
        call = collection_calls.put_collection(
            self._tenant(tenant_id),
            collection,
            fields=fields,
            orders=orders,
            json_schema=json_schema,
            history=history,
            expected_version=expected_version,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._call(call, timeout)

    def get_collection(
        self,
        collection: str,
        *,
        include_mismatch_counts: bool = False,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Collection:
        """Reads one declaration.

            client.put_collection("movies", fields={"/Title": "text"})
            found = client.get_collection("movies")
            print(found.fields[0].path, found.indexes[0].state.value)  # /Title ready

        Args:
            include_mismatch_counts: fills `mismatch_counts`, which reads every record of the collection.

        Raises:
            NotFoundError: the collection was never declared.
        """
        return self._call(
            collection_calls.get_collection(
                self._tenant(tenant_id), collection, include_mismatch_counts=include_mismatch_counts
            ),
            timeout,
        )

    def list_collections(
        self, *, page_size: int = 0, tenant_id: str | None = None, timeout: float | Unset | None = UNSET
    ) -> Iterator[Collection]:
        """Iterates over the tenant's collections by name, declared or not.

            print([each.collection for each in client.list_collections()])  # ['movies']

        Pages of `page_size` (0: 100; at most 1,000) are fetched as the iteration needs
        them, each with its own timeout and retries.
        """
        return self._pages(collection_calls.list_collections(self._tenant(tenant_id), page_size=page_size), timeout)
