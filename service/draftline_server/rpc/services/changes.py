"""The implementation of ChangeService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from draftline.v1 import change_pb2

from ...domain.merged import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from ...domain.records import Actor
from ...store.change_log.changes import ChangeStore
from ...store.reverts import RevertStore
from ...store.transaction import Transaction
from ..cooperative import yielding
from ..mapping.changes import fill_revert_result, shows_content, to_change, to_change_query, to_change_target
from ..response_size import append_within_limit, count_fitting
from ..stored_responses import StoredResponses
from .drafts import POLICIES
from .watch import Watches


@dataclass(frozen=True, slots=True)
class ChangeService:
    """The rpcs of ChangeService, which protos/draftline/v1/change.proto documents."""

    changes: ChangeStore
    reverts: RevertStore
    responses: StoredResponses
    watches: Watches

    async def ListChanges(  # noqa: N802
        self, request: change_pb2.ListChangesRequest, actor: Actor
    ) -> change_pb2.ListChangesResponse:
        query, page_size = to_change_query(request), min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        while True:
            page = await self.changes.page(actor, query, page_size, request.page_token)
            response = change_pb2.ListChangesResponse(
                changes=[
                    to_change(change, actor.tenant_id, request.response_encoding)
                    async for change in yielding(page.changes)
                ],
                next_page_token=page.next_page_token,
            )
            page_size = count_fitting(response, response.changes)
            if page_size == len(response.changes):
                return response

    async def RevertChange(  # noqa: N802
        self, request: change_pb2.RevertChangeRequest, actor: Actor
    ) -> change_pb2.RevertChangeResponse:
        target = to_change_target(request)

        async def write(transaction: Transaction) -> change_pb2.RevertChangeResponse:
            results, commit_id = await self.reverts.revert(
                transaction,
                actor,
                target,
                POLICIES[request.conflict_policy],
                change_reason=request.change_reason,
                allow_partial=request.allow_partial,
                with_content=shows_content(request),
            )
            response = change_pb2.RevertChangeResponse(commit_id=commit_id)
            append_within_limit(response.results, results, partial(fill_revert_result, request=request, actor=actor))
            return response

        return await self.responses.write(actor, write, validate_only=request.validate_only)

    def WatchChanges(  # noqa: N802
        self, request: change_pb2.WatchChangesRequest, actor: Actor
    ) -> AsyncIterator[change_pb2.WatchChangesResponse]:
        return self.watches.watch(request, actor)
