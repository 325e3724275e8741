"""The methods of ChangeService for asyncio. Their docstrings are copied from the blocking client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from draftline._async.transport import Transport
from draftline._async.watch import AsyncWatch
from draftline._core import change_calls
from draftline._core.change_calls import ChangeLike
from draftline._core.watch_state import DEFAULT_SILENCE_S
from draftline.models import UNSET, Change, ConflictPolicy, MergedChange, Results, RevertResult, Unset


class ChangeMethods(Transport):
    def changes(
        self,
        collection: str | None = None,
        record_id: str | None = None,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        omit_values: bool = False,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> AsyncIterator[Change]:
        call = change_calls.list_changes(
            self._tenant(tenant_id),
            collection,
            record_id,
            filter=filter,
            order_by=order_by,
            page_size=page_size,
            omit_values=omit_values,
        )
        return self._pages(call, timeout)

    async def revert(
        self,
        change: ChangeLike | None = None,
        *,
        commit_id: str | None = None,
        conflict_policy: ConflictPolicy | str = ConflictPolicy.REJECT,
        validate_only: bool = False,
        allow_partial: bool = False,
        include_content: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[RevertResult]:
        call = change_calls.revert_change(
            self._tenant(tenant_id),
            change,
            commit_id=commit_id,
            conflict_policy=conflict_policy,
            validate_only=validate_only,
            allow_partial=allow_partial,
            include_content=include_content,
            fields=fields,
            change_reason=change_reason,
            request_id=request_id,
        )
        return await self._call(call, timeout)

    def watch(
        self,
        collection: str | None = None,
        *,
        filter: str = "",
        resume_token: str = "",
        omit_values: bool = False,
        silence_s: float = DEFAULT_SILENCE_S,
        tenant_id: str | None = None,
    ) -> AsyncWatch[Change]:
        call = change_calls.watch_changes(
            self._tenant(tenant_id), collection, filter=filter, resume_token=resume_token, omit_values=omit_values
        )
        return AsyncWatch(self, call, silence_s)

    def watch_merged(
        self,
        collection: str,
        *,
        filter: str = "",
        resume_token: str = "",
        fields: Iterable[str] = (),
        silence_s: float = DEFAULT_SILENCE_S,
        tenant_id: str | None = None,
    ) -> AsyncWatch[MergedChange]:
        call = change_calls.watch_merged(
            self._tenant(tenant_id), collection, filter=filter, resume_token=resume_token, fields=fields
        )
        return AsyncWatch(self, call, silence_s)
