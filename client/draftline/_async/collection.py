"""The methods of CollectionService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from draftline._async.transport import Transport
from draftline._core import collection_calls
from draftline._core.build_waits import BuildWaits
from draftline._core.requests import OrderLike
from draftline.models import (
    UNSET,
    ChangeHistory,
    Collection,
    DeclaredField,
    DeclaredRelation,
    DeclaredStatistic,
    FieldType,
    Unset,
)


class CollectionMethods(Transport):
    async def put_collection(
        self,
        collection: str,
        *,
        fields: Iterable[DeclaredField] | Mapping[str, FieldType | str] = (),
        orders: Iterable[OrderLike] = (),
        json_schema: Mapping[str, Any] | None = None,
        history: ChangeHistory | str = ChangeHistory.VALUES,
        statistics: Iterable[DeclaredStatistic] = (),
        relations: Iterable[DeclaredRelation] = (),
        expected_version: int | None = None,
        validate_only: bool = False,
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Collection:
        """Create or replace the spec of a collection, and build the indexes that it requires.

            await client.put_collection(
                "movies",
                fields={"/Title": "text", "/IMDB Rating": "number"},
                orders=[[SortKey("/IMDB Rating", descending=True), "/Title"]],
            )

        Returns when the indexes are built, or after half of the timeout and at most 5 seconds; the
        build of large collections then continues. `wait_until_built` waits for it.

        Args:
            fields: types by path (a JSON Pointer, RFC 6901), at most 32; each field gets an index. A list of
                `DeclaredField` can also set `on_type_mismatch` for each field.
            orders: further sort orders to index, at most 16, each of 1 to 4 paths.
            json_schema: the JSON Schema that content must satisfy from now on, up to 256 KiB.
            history: what the change log stores: "values" (the default), or "paths" only, which is
                smaller, but such changes cannot be reverted.
            statistics: the statistics to keep for `statistics()`, at most 8.
            relations: the relations to other records, which `expand` and filters follow, at most 16.
            expected_version: the version that the spec must have; 0: there must be no spec. None: any version.
            validate_only: checks everything and returns the result without writing it.

        Raises:
            VersionMismatchError: the spec is not at `expected_version`.
            FailedPreconditionError: stored content cannot be indexed, or has values that a
                field rejects (`OnTypeMismatch.REFUSE`).
        """
        call = collection_calls.put_collection(
            self._tenant(tenant_id),
            collection,
            fields=fields,
            orders=orders,
            json_schema=json_schema,
            history=history,
            statistics=statistics,
            relations=relations,
            expected_version=expected_version,
            validate_only=validate_only,
            request_id=request_id,
        )
        return await self._call(call, timeout)

    async def get_collection(
        self,
        collection: str,
        *,
        include_mismatch_counts: bool = False,
        include_dangling: bool = False,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Collection:
        """Return the spec of a collection.

            await client.put_collection("movies", fields={"/Title": "text"})
            found = await client.get_collection("movies")
            print(found.fields[0].path, found.indexes[0].state.value)  # /Title ready

        Args:
            include_mismatch_counts: fills in `mismatch_counts`, which reads every record of the collection.
            include_dangling: fills in `dangling` of relations that are checked, which reads all their ids.

        Raises:
            NotFoundError: the collection has no spec.
        """
        return await self._call(
            collection_calls.get_collection(
                self._tenant(tenant_id),
                collection,
                include_mismatch_counts=include_mismatch_counts,
                include_dangling=include_dangling,
            ),
            timeout,
        )

    async def wait_until_built(
        self,
        collection: str,
        *,
        on_progress: Callable[[Collection], object] | None = None,
        tenant_id: str | None = None,
        timeout: float | None = None,
    ) -> Collection:
        """Wait until the indexes and statistics of a collection are built, and return its spec.

            await client.put_collection("movies", fields={"/Title": "text"})
            built = await client.wait_until_built("movies")
            print(built.indexes[0].state.value)  # ready

        Args:
            on_progress: is called with the collection at each look; see `Collection.build_progress`.
            timeout: seconds; None: no limit. The build continues all the same.

        Raises:
            NotFoundError: the collection has no spec.
            DeadlineExceededError: the timeout expired first.
        """
        waits = BuildWaits(collection, timeout, on_progress)
        while True:
            found = await self.get_collection(collection, tenant_id=tenant_id, timeout=waits.call_timeout())
            if on_progress is not None:
                on_progress(found)
            if not found.is_building:
                return found
            await self._reconnect_wait.wait(waits.pause_s())

    def list_collections(
        self, *, page_size: int = 0, tenant_id: str | None = None, timeout: float | Unset | None = UNSET
    ) -> AsyncIterator[Collection]:
        """Iterate over the tenant's collections, sorted by name, with or without a spec.

            print([each.collection async for each in client.list_collections()])  # ['movies']

        Pages of `page_size` (0: 100; at most 1,000) are fetched on demand, each with its own
        timeout and retries.
        """
        return self._pages(collection_calls.list_collections(self._tenant(tenant_id), page_size=page_size), timeout)
