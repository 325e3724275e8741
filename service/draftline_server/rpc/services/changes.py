"""The implementation of ChangeService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from draftline.v1 import change_pb2

from ...domain.changes import RevertResult
from ...domain.merged import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from ...domain.records import Actor
from ...store.change_log.changes import ChangeStore
from ...store.reverts import RevertStore
from ..cooperative import yielding
from ..mapping.changes import fill_revert_result, shows_content, to_change, to_change_query, to_change_target
from ..response_size import count_fitting, deliver
from .drafts import POLICIES
from .watch import Watches


@dataclass(frozen=True, slots=True)
class ChangeService:
    """The rpcs of ChangeService, which protos/draftline/v1/change.proto documents."""

    changes: ChangeStore
    reverts: RevertStore
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
        def answer(results: Sequence[RevertResult], commit_id: str) -> change_pb2.RevertChangeResponse:
            response = change_pb2.RevertChangeResponse(commit_id=commit_id)
            deliver(response.results, results, partial(fill_revert_result, request=request, actor=actor))
            return response

        return await self.reverts.revert(
            actor,
            to_change_target(request),
            POLICIES[request.conflict_policy],
            answer,
            change_reason=request.change_reason,
            validate_only=request.validate_only,
            allow_partial=request.allow_partial,
            with_content=shows_content(request),
        )

    def WatchChanges(  # noqa: N802
        self, request: change_pb2.WatchChangesRequest, actor: Actor
    ) -> AsyncIterator[change_pb2.WatchChangesResponse]:
        return self.watches.watch(request, actor)
