"""The implementation of DraftService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from itertools import count

from draftline.v1 import draft_pb2

from ...domain.content import Limits
from ...domain.drafts import CommitResult, ConflictPolicy, DraftEdit, SaveResult, Selection
from ...domain.errors import DraftlineError, DuplicateRecordError, InvalidFieldError
from ...domain.merged import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from ...domain.records import Actor
from ...store.commits import CommitStore
from ...store.draft_users import DraftUsers
from ...store.drafts import DraftStore
from ...store.quotas import Quotas
from ...store.statistics.store import StatisticsStore
from ...store.transaction import Transaction
from ..encoded_page import EncodedGroups, EncodedPage
from ..mapping.drafts import fill_merged, to_conflict, to_draft_edit, to_resolutions
from ..mapping.merged_bytes import MergedEncoder
from ..mapping.statistic_groups import to_response
from ..mapping.statistics import to_statistics_query
from ..response_size import MAX_PAGE_MESSAGE_BYTES, append_within_limit
from ..status import to_status
from ..stored_responses import StoredResponses
from .draft_owner import audit, audit_list, draft_owner, to_draft_user
from .merged_pages import MergedPages
from .partial_batch import PartialBatch

POLICIES = {
    draft_pb2.CONFLICT_POLICY_UNSPECIFIED: ConflictPolicy.REJECT,
    draft_pb2.CONFLICT_POLICY_REJECT: ConflictPolicy.REJECT,
    draft_pb2.CONFLICT_POLICY_KEEP_MINE: ConflictPolicy.KEEP_MINE,
    draft_pb2.CONFLICT_POLICY_KEEP_THEIRS: ConflictPolicy.KEEP_THEIRS,
}


@dataclass(frozen=True, slots=True)
class DraftService:
    """The rpcs of DraftService, which protos/draftline/v1/draft.proto documents."""

    drafts: DraftStore
    commits: CommitStore
    pages: MergedPages
    statistics: StatisticsStore
    users: DraftUsers
    responses: StoredResponses
    limits: Limits
    quotas: Quotas

    async def SaveDraft(  # noqa: N802
        self, request: draft_pb2.SaveDraftRequest, actor: Actor
    ) -> draft_pb2.SaveDraftResponse:
        _check_duplicates([edit.record_id for edit in request.edits], "edits[{}].record_id")
        batch: PartialBatch[DraftEdit] = PartialBatch("edits", allow_partial=request.allow_partial)
        await batch.convert(request.edits, lambda edit: to_draft_edit(edit, self.limits))

        encoder = MergedEncoder(actor, request)

        def fill(message: draft_pb2.SaveDraftResult, outcome: tuple[int, SaveResult | DraftlineError]) -> None:
            _, result = outcome
            if isinstance(result, DraftlineError):
                message.status.CopyFrom(to_status(result))
                return
            message.status.SetInParent()
            if result.merged is not None:
                message.record.MergeFromString(encoder.encode(result.merged))

        attempts = count()

        async def write(transaction: Transaction) -> draft_pb2.SaveDraftResponse:
            results = await self.drafts.save(
                transaction,
                actor,
                request.collection,
                batch.items,
                session_id=request.session_id,
                change_reason=request.change_reason,
                omit_content=request.omit_content,
                move_to_session=request.move_to_session,
                again=next(attempts) > 0,
            )
            self.quotas.check_new_drafts(actor.tenant_id, sum(map(_is_new, results)))
            response = draft_pb2.SaveDraftResponse()
            append_within_limit(response.results, batch.outcomes(results), fill)
            return response

        return await self.responses.write(actor, write)

    async def GetMerged(  # noqa: N802
        self, request: draft_pb2.GetMergedRequest, actor: Actor
    ) -> EncodedPage:
        page_size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        owner = draft_owner(request, actor)
        page = await self.pages.page(draft_pb2.GetMergedResponse, request, owner, page_size, request.page_token)
        audit(request, actor, "GetMerged", page.draft_count)
        return page

    async def GetStatistics(  # noqa: N802
        self, request: draft_pb2.GetStatisticsRequest, actor: Actor
    ) -> draft_pb2.GetStatisticsResponse | EncodedGroups:
        result = await self.statistics.query(actor, to_statistics_query(request))
        return await to_response(result, request)

    async def ListDraftUsers(  # noqa: N802
        self, request: draft_pb2.ListDraftUsersRequest, actor: Actor
    ) -> draft_pb2.ListDraftUsersResponse:
        page_size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        users, token = await self.users.page(actor.tenant_id, request.collection, page_size, request.page_token)
        audit_list(request, actor, len(users))
        return draft_pb2.ListDraftUsersResponse(users=map(to_draft_user, users), next_page_token=token)

    async def StreamMerged(  # noqa: N802
        self, request: draft_pb2.StreamMergedRequest, actor: Actor
    ) -> AsyncIterator[EncodedPage]:
        page_size, token = MAX_PAGE_SIZE, request.page_token
        while True:
            page = await self.pages.page(draft_pb2.StreamMergedResponse, request, actor, page_size, token)
            yield page
            token = page.next_page_token
            if not token:
                return
            page_size = len(page.records)
            if 2 * page.size() < MAX_PAGE_MESSAGE_BYTES:  # the next page may hold more
                page_size = min(2 * page_size, MAX_PAGE_SIZE)

    async def Commit(self, request: draft_pb2.CommitRequest, actor: Actor) -> draft_pb2.CommitResponse:  # noqa: N802
        selection, resolutions = _selection(request), to_resolutions(request.resolutions, self.limits)

        async def write(transaction: Transaction) -> draft_pb2.CommitResponse:
            results, commit_id = await self.commits.commit(
                transaction,
                actor,
                request.collection,
                selection,
                POLICIES[request.conflict_policy],
                change_reason=request.change_reason,
                allow_partial=request.allow_partial,
                with_content=_with_content(request),
                resolutions=resolutions,
            )
            self.quotas.check_new_records(actor.tenant_id, sum(map(_creates_record, results)))
            response = draft_pb2.CommitResponse(commit_id=commit_id, selected_count=len(results))
            encoder = MergedEncoder(actor, request)
            append_within_limit(
                response.results, results, partial(_fill_commit_result, request=request, encoder=encoder)
            )
            return response

        return await self.responses.write(
            actor, write, collections=[request.collection], validate_only=request.validate_only
        )

    async def Discard(self, request: draft_pb2.DiscardRequest, actor: Actor) -> draft_pb2.DiscardResponse:  # noqa: N802
        selection, owner = _selection(request), draft_owner(request, actor)

        async def write(transaction: Transaction) -> draft_pb2.DiscardResponse:
            dropped = await self.drafts.discard(
                transaction, owner, request.collection, selection, with_content=request.include_content
            )
            response = draft_pb2.DiscardResponse(selected_count=len(dropped))
            append_within_limit(response.records, dropped, partial(fill_merged, actor=owner, presentation=request))
            return response

        response = await self.responses.write(actor, write, validate_only=request.validate_only)
        audit(request, actor, "Discard", response.selected_count)
        return response


def _is_new(result: SaveResult) -> bool:
    return result.merged is not None and result.merged.draft_version == 1


def _creates_record(result: CommitResult) -> bool:
    return result.written and result.record is not None and result.record.version == 1


def _with_content(request: draft_pb2.CommitRequest) -> bool:
    return request.include_content or request.validate_only


def _fill_commit_result(
    message: draft_pb2.CommitResult, result: CommitResult, request: draft_pb2.CommitRequest, encoder: MergedEncoder
) -> None:
    message.record_id = result.record_id
    if result.error is None:
        message.status.SetInParent()
    else:
        message.status.CopyFrom(to_status(result.error))
    message.changed_fields.extend(result.changed_fields)
    if result.changed_attributes:
        message.changed_attributes.extend(result.changed_attributes)
    if result.conflicts:
        message.conflicts.extend(to_conflict(conflict, request.response_encoding) for conflict in result.conflicts)
    if result.record is not None:
        message.record.MergeFromString(encoder.record(result.record))


def _selection(request: draft_pb2.CommitRequest | draft_pb2.DiscardRequest) -> Selection:
    match request.WhichOneof("selection"):
        case "drafts":
            named = request.drafts.drafts
            _check_duplicates([draft.record_id for draft in named], "drafts.drafts[{}].record_id")
            return Selection(
                {
                    draft.record_id: draft.expected_draft_version if draft.HasField("expected_draft_version") else None
                    for draft in named
                }
            )
        case "session_id":
            return Selection(session_id=request.session_id)
        case "all":
            return Selection()
    raise InvalidFieldError.of("selection", "one of drafts, session_id and all must be set")


def _check_duplicates(record_ids: list[str], field_format: str) -> None:
    seen: dict[str, int] = {}
    for index, record_id in enumerate(record_ids):
        first = seen.setdefault(record_id, index)
        if first != index:
            field, problem = field_format.format(index), f"duplicate record_id (also in {field_format.format(first)})"
            raise DuplicateRecordError(f"{field}: {problem}", fields=[(field, problem)], record_id=record_id)
