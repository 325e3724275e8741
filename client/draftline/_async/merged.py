"""The lists of DraftService for asyncio. Their docstrings are copied from the blocking client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from draftline._async.transport import Transport
from draftline._core import draft_calls
from draftline.models import UNSET, MergedPage, MergedRecord, Unset, View


class MergedMethods(Transport):
    def get_merged(
        self,
        collection: str,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        record_ids: Iterable[str] = (),
        session_id: str = "",
        view: View | str = View.MERGED,
        show_deleted: bool = False,
        fields: Iterable[str] = (),
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> AsyncIterator[MergedRecord]:
        call = draft_calls.get_merged(
            self._tenant(tenant_id),
            collection,
            filter=filter,
            order_by=order_by,
            page_size=page_size,
            record_ids=record_ids,
            session_id=session_id,
            view=view,
            show_deleted=show_deleted,
            fields=fields,
        )
        return self._pages(call, timeout)

    async def get_merged_page(
        self,
        collection: str,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
        record_ids: Iterable[str] = (),
        session_id: str = "",
        view: View | str = View.MERGED,
        show_deleted: bool = False,
        include_total_size: bool = False,
        fields: Iterable[str] = (),
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> MergedPage:
        first = draft_calls.get_merged(
            self._tenant(tenant_id),
            collection,
            filter=filter,
            order_by=order_by,
            page_size=page_size,
            record_ids=record_ids,
            session_id=session_id,
            view=view,
            show_deleted=show_deleted,
            fields=fields,
        )
        call = draft_calls.get_merged_page(first, page_token=page_token, include_total_size=include_total_size)
        return await self._call(call, timeout)

    def stream_merged(
        self,
        collection: str,
        *,
        filter: str = "",
        order_by: str = "",
        session_id: str = "",
        view: View | str = View.MERGED,
        show_deleted: bool = False,
        fields: Iterable[str] = (),
        tenant_id: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[MergedRecord]:
        call = draft_calls.stream_merged(
            self._tenant(tenant_id),
            collection,
            filter=filter,
            order_by=order_by,
            session_id=session_id,
            view=view,
            show_deleted=show_deleted,
            fields=fields,
        )
        return self._stream(call, timeout)
