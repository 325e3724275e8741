"""The methods of CollectionService for asyncio. Their docstrings are copied from the blocking client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from draftline._async.transport import Transport
from draftline._core import collection_calls
from draftline._core.requests import OrderLike
from draftline.models import UNSET, ChangeHistory, Collection, DeclaredField, FieldType, Unset


class CollectionMethods(Transport):
    async def put_collection(
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
        return await self._call(call, timeout)

    async def get_collection(
        self,
        collection: str,
        *,
        include_mismatch_counts: bool = False,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Collection:
        return await self._call(
            collection_calls.get_collection(
                self._tenant(tenant_id), collection, include_mismatch_counts=include_mismatch_counts
            ),
            timeout,
        )

    def list_collections(
        self, *, page_size: int = 0, tenant_id: str | None = None, timeout: float | Unset | None = UNSET
    ) -> AsyncIterator[Collection]:
        return self._pages(collection_calls.list_collections(self._tenant(tenant_id), page_size=page_size), timeout)
