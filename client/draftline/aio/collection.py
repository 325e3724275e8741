"""The methods of CollectionService for asyncio. Their docstrings are those of the blocking ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from draftline import collection_calls
from draftline.aio.transport import Transport
from draftline.models import UNSET, Collection, DeclaredField, FieldType, Unset
from draftline.requests import OrderLike


class CollectionMethods(Transport):
    async def put_collection(
        self,
        collection: str,
        *,
        fields: Iterable[DeclaredField] | Mapping[str, FieldType | str] = (),
        orders: Iterable[OrderLike] = (),
        json_schema: Mapping[str, Any] | None = None,
        expected_version: int | None = None,
        validate_only: bool = False,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Collection:
        call = collection_calls.put_collection(
            self._tenant(tenant_id),
            collection,
            fields=fields,
            orders=orders,
            json_schema=json_schema,
            expected_version=expected_version,
            validate_only=validate_only,
        )
        return await self._call(call, timeout)

    async def get_collection(
        self, collection: str, *, tenant_id: str | None = None, timeout: float | Unset | None = UNSET
    ) -> Collection:
        return await self._call(collection_calls.get_collection(self._tenant(tenant_id), collection), timeout)

    def list_collections(
        self, *, page_size: int = 0, tenant_id: str | None = None, timeout: float | Unset | None = UNSET
    ) -> AsyncIterator[Collection]:
        return self._pages(collection_calls.list_collections(self._tenant(tenant_id), page_size=page_size), timeout)
