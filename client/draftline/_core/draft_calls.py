"""The calls of DraftService. Documents are always requested as JSON text, in which numbers are exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from draftline._core.arguments import checked
from draftline._core.draft_responses import (
    commit_results_of,
    discarded_of,
    draft_users_of,
    merged_page_of,
    merged_records_of,
    save_results_of,
)
from draftline._core.methods import Call, Method
from draftline._core.requests import (
    conflict_policy_of,
    document_of,
    json_of,
    merge_strategy,
    operation_list,
    request_id_of,
)
from draftline.errors import ConflictError
from draftline.models import (
    UNSET,
    CommitResult,
    ConflictPolicy,
    DraftEdit,
    DraftUser,
    MergedPage,
    MergedRecord,
    Resolution,
    Results,
    SaveResult,
    Side,
    View,
)
from draftline.v1 import draft_pb2 as pb
from draftline.v1.types_pb2 import ENCODING_JSON

_SERVICE = "DraftService"

RecordIds = Iterable[str] | Mapping[str, int | None]
SelectingT = TypeVar("SelectingT", pb.CommitRequest, pb.DiscardRequest)

SAVE_DRAFT = Method(_SERVICE, "SaveDraft", pb.SaveDraftRequest, pb.SaveDraftResponse, save_results_of)
GET_MERGED = Method(_SERVICE, "GetMerged", pb.GetMergedRequest, pb.GetMergedResponse, merged_records_of, is_read=True)
STREAM_MERGED = Method(
    _SERVICE, "StreamMerged", pb.StreamMergedRequest, pb.StreamMergedResponse, merged_records_of, is_read=True
)
COMMIT = Method(_SERVICE, "Commit", pb.CommitRequest, pb.CommitResponse, commit_results_of)
DISCARD = Method(_SERVICE, "Discard", pb.DiscardRequest, pb.DiscardResponse, discarded_of)

LIST_DRAFT_USERS = Method(
    _SERVICE, "ListDraftUsers", pb.ListDraftUsersRequest, pb.ListDraftUsersResponse, draft_users_of, is_read=True
)

METHODS = (SAVE_DRAFT, GET_MERGED, STREAM_MERGED, COMMIT, DISCARD, LIST_DRAFT_USERS)

# The same rpc for a caller that fetches pages one by one, and so needs the page token.
_GET_MERGED_PAGE = Method(
    _SERVICE, "GetMerged", pb.GetMergedRequest, pb.GetMergedResponse, merged_page_of, is_read=True
)


@checked
def save_draft(
    tenant_id: str,
    collection: str,
    edits: Iterable[DraftEdit],
    *,
    session_id: str,
    move_to_session: bool,
    change_reason: str,
    allow_partial: bool,
    omit_content: bool,
    fields: Iterable[str],
    request_id: str | None,
) -> Call[pb.SaveDraftRequest, pb.SaveDraftResponse, list[SaveResult]]:
    request = pb.SaveDraftRequest(
        tenant_id=tenant_id,
        collection=collection,
        edits=[_edit(each) for each in edits],
        session_id=session_id,
        move_to_session=move_to_session,
        change_reason=change_reason,
        allow_partial=allow_partial,
        omit_content=omit_content,
        fields=fields,
        response_encoding=ENCODING_JSON,
        request_id=request_id_of(request_id),
    )
    return Call(SAVE_DRAFT, request)


@checked
def get_merged(
    tenant_id: str,
    collection: str,
    *,
    filter: str,
    order_by: str,
    page_size: int,
    record_ids: Iterable[str],
    session_id: str,
    view: View | str,
    show_deleted: bool,
    fields: Iterable[str],
    strict_fields: bool,
    draft_user: str,
    expand: Iterable[str],
    expand_limit: int,
    included_fields: Iterable[str],
) -> Call[pb.GetMergedRequest, pb.GetMergedResponse, list[MergedRecord]]:
    """Build the call for the first page."""
    request = pb.GetMergedRequest(
        tenant_id=tenant_id,
        collection=collection,
        filter=filter,
        order_by=order_by,
        page_size=page_size,
        record_ids=record_ids,
        session_id=session_id,
        view=_view(view),
        show_deleted=show_deleted,
        fields=fields,
        strict_fields=strict_fields,
        draft_user_id=draft_user,
        response_encoding=ENCODING_JSON,
        expand=expand,
        expand_limit=expand_limit,
        included_fields=included_fields,
    )
    return Call(GET_MERGED, request)


@checked
def get_merged_page(
    first: Call[pb.GetMergedRequest, pb.GetMergedResponse, list[MergedRecord]],
    *,
    page_token: str,
    include_total_size: bool,
) -> Call[pb.GetMergedRequest, pb.GetMergedResponse, MergedPage]:
    """Build the call for one page of the list that `first` starts."""
    first.request.page_token = page_token
    first.request.include_total_size = include_total_size
    return Call(_GET_MERGED_PAGE, first.request)


@checked
def stream_merged(
    tenant_id: str,
    collection: str,
    *,
    filter: str,
    order_by: str,
    session_id: str,
    view: View | str,
    show_deleted: bool,
    fields: Iterable[str],
    strict_fields: bool,
    expand: Iterable[str],
    expand_limit: int,
    included_fields: Iterable[str],
) -> Call[pb.StreamMergedRequest, pb.StreamMergedResponse, list[MergedRecord]]:
    request = pb.StreamMergedRequest(
        tenant_id=tenant_id,
        collection=collection,
        filter=filter,
        order_by=order_by,
        session_id=session_id,
        view=_view(view),
        show_deleted=show_deleted,
        fields=fields,
        strict_fields=strict_fields,
        response_encoding=ENCODING_JSON,
        expand=expand,
        expand_limit=expand_limit,
        included_fields=included_fields,
    )
    return Call(STREAM_MERGED, request)


@checked
def commit(
    tenant_id: str,
    collection: str,
    *,
    session_id: str | None,
    record_ids: RecordIds | None,
    all: bool,
    conflict_policy: ConflictPolicy | str,
    validate_only: bool,
    allow_partial: bool,
    include_content: bool,
    fields: Iterable[str],
    change_reason: str,
    resolutions: Iterable[Resolution],
    request_id: str | None,
) -> Call[pb.CommitRequest, pb.CommitResponse, Results[CommitResult]]:
    request = pb.CommitRequest(
        tenant_id=tenant_id,
        collection=collection,
        conflict_policy=conflict_policy_of(conflict_policy),
        validate_only=validate_only,
        allow_partial=allow_partial,
        include_content=include_content,
        fields=fields,
        response_encoding=ENCODING_JSON,
        change_reason=change_reason,
        resolutions=[_resolution(each) for each in resolutions],
        request_id=request_id_of(request_id),
    )
    return Call(COMMIT, _selecting(request, session_id, record_ids, all))


@checked
def discard(
    tenant_id: str,
    collection: str,
    *,
    session_id: str | None,
    record_ids: RecordIds | None,
    all: bool,
    validate_only: bool,
    include_content: bool,
    draft_user: str,
    fields: Iterable[str],
    request_id: str | None,
) -> Call[pb.DiscardRequest, pb.DiscardResponse, Results[MergedRecord]]:
    request = pb.DiscardRequest(
        tenant_id=tenant_id,
        collection=collection,
        validate_only=validate_only,
        include_content=include_content,
        draft_user_id=draft_user,
        fields=fields,
        response_encoding=ENCODING_JSON,
        request_id=request_id_of(request_id),
    )
    return Call(DISCARD, _selecting(request, session_id, record_ids, all))


def _edit(edit: DraftEdit) -> pb.DraftEdit:
    given = sum(each is not None for each in (edit.delta, edit.operations, edit.create)) + edit.delete
    moves = edit.parent_id is not UNSET or edit.position is not UNSET
    if given > 1 or not (given or moves):
        raise ValueError(
            f"the edit of {edit.record_id!r} must set exactly one of delta, operations, create and delete, "
            "or only parent_id or position"
        )
    return pb.DraftEdit(
        record_id=edit.record_id,
        delta=None if edit.delta is None else document_of("delta", edit.delta),
        operations=None if edit.operations is None else operation_list(edit.operations),
        create=None if edit.create is None else document_of("create", edit.create),
        delete=pb.DeleteMark() if edit.delete else None,
        strategy=merge_strategy(edit.strategy),
        depth=edit.depth,
        expected_draft_version=edit.expected_draft_version,
        base_version=edit.base_version,
        replace=edit.replace,
        parent_id=None if edit.parent_id is UNSET else edit.parent_id or "",
        position=None if edit.position is UNSET else edit.position,
        clear_position=edit.position is None,
        allow_deleted=edit.allow_deleted,
    )


@checked
def list_draft_users(
    tenant_id: str, *, collection: str, page_size: int
) -> Call[pb.ListDraftUsersRequest, pb.ListDraftUsersResponse, list[DraftUser]]:
    """Build the call for the first page."""
    request = pb.ListDraftUsersRequest(tenant_id=tenant_id, collection=collection, page_size=page_size)
    return Call(LIST_DRAFT_USERS, request)


def keep_resolutions(error: ConflictError, resolutions: Sequence[Resolution]) -> None:
    """Prepend the failed commit's resolutions to those of the error, except for conflicts that are open again."""
    is_open = {(each.record_id, each.path) for each in error.conflicts}
    error.resolutions[:0] = [each for each in resolutions if (each.record_id, each.path) not in is_open]


def _resolution(each: Resolution) -> pb.Resolution:
    message = pb.Resolution(record_id=each.record_id, path=each.path, version=each.version)
    if each.side is None:
        message.value.json = json_of(f"the value of the resolution of {each.record_id!r}", each.value)
    else:
        message.side = pb.Side.Value(f"SIDE_{Side(each.side).name}")
    return message


def _view(view: View | str) -> pb.View.ValueType:
    return pb.View.Value(f"VIEW_{View(view).name}")


def _selecting(
    request: SelectingT, session_id: str | None, record_ids: RecordIds | None, all_drafts: bool
) -> SelectingT:
    if (session_id is not None) + (record_ids is not None) + all_drafts != 1:
        raise ValueError("set exactly one of session_id, record_ids and all")
    if record_ids is not None:
        versions = record_ids if isinstance(record_ids, Mapping) else {}
        request.drafts.drafts.extend(
            pb.SelectedDraft(record_id=record_id, expected_draft_version=versions.get(record_id))
            for record_id in record_ids
        )
        request.drafts.SetInParent()  # keeps an empty list present, so that the service rejects it
    elif session_id is not None:
        request.session_id = session_id
    else:
        request.all = True
    return request
