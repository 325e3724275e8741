"""The calls of ChangeService. Values are always requested as JSON text, in which numbers are exact."""

from __future__ import annotations

from collections.abc import Iterable

from draftline._core.arguments import checked
from draftline._core.change_responses import changes_of, merged_changes_of, revert_results_of
from draftline._core.methods import Call, Method
from draftline._core.requests import conflict_policy_of, request_id_of
from draftline.models import Change, ConflictPolicy, MergedChange, Results, RevertResult
from draftline.v1 import change_pb2 as pb
from draftline.v1.types_pb2 import ENCODING_JSON

_SERVICE = "ChangeService"

ChangeLike = Change | tuple[str, str, int]
CHANGE_REF_PARTS = 3

LIST_CHANGES = Method(_SERVICE, "ListChanges", pb.ListChangesRequest, pb.ListChangesResponse, changes_of, is_read=True)
REVERT_CHANGE = Method(_SERVICE, "RevertChange", pb.RevertChangeRequest, pb.RevertChangeResponse, revert_results_of)
WATCH_CHANGES = Method(
    _SERVICE, "WatchChanges", pb.WatchChangesRequest, pb.WatchChangesResponse, changes_of, is_read=True
)

METHODS = (LIST_CHANGES, REVERT_CHANGE, WATCH_CHANGES)

# The same rpc for the merged view, whose responses parse differently.
_WATCH_MERGED = Method(
    _SERVICE, "WatchChanges", pb.WatchChangesRequest, pb.WatchChangesResponse, merged_changes_of, is_read=True
)


@checked
def list_changes(
    tenant_id: str,
    collection: str | None,
    record_id: str | None,
    *,
    filter: str,
    order_by: str,
    page_size: int,
    omit_values: bool,
) -> Call[pb.ListChangesRequest, pb.ListChangesResponse, list[Change]]:
    """Build the call for the first page."""
    request = pb.ListChangesRequest(
        tenant_id=tenant_id,
        collection=collection or "",
        record_id=record_id or "",
        filter=filter,
        order_by=order_by,
        page_size=page_size,
        omit_values=omit_values,
        response_encoding=ENCODING_JSON,
    )
    return Call(LIST_CHANGES, request)


@checked
def revert_change(
    tenant_id: str,
    change: ChangeLike | None,
    *,
    commit_id: str | None,
    conflict_policy: ConflictPolicy | str,
    validate_only: bool,
    allow_partial: bool,
    include_content: bool,
    fields: Iterable[str],
    change_reason: str,
    request_id: str | None,
) -> Call[pb.RevertChangeRequest, pb.RevertChangeResponse, Results[RevertResult]]:
    if (change is None) == (commit_id is None):
        raise ValueError("set exactly one of change and commit_id")
    request = pb.RevertChangeRequest(
        tenant_id=tenant_id,
        change=None if change is None else _change_ref(change),
        conflict_policy=conflict_policy_of(conflict_policy),
        validate_only=validate_only,
        allow_partial=allow_partial,
        include_content=include_content,
        fields=fields,
        response_encoding=ENCODING_JSON,
        change_reason=change_reason,
        request_id=request_id_of(request_id),
    )
    if commit_id is not None:
        request.commit_id = commit_id
    return Call(REVERT_CHANGE, request)


@checked
def watch_changes(
    tenant_id: str, collection: str | None, *, filter: str, resume_token: str, omit_values: bool
) -> Call[pb.WatchChangesRequest, pb.WatchChangesResponse, list[Change]]:
    request = pb.WatchChangesRequest(
        tenant_id=tenant_id,
        collection=collection or "",
        view=pb.WATCH_VIEW_CHANGES,
        filter=filter,
        resume_token=resume_token,
        omit_values=omit_values,
        response_encoding=ENCODING_JSON,
    )
    return Call(WATCH_CHANGES, request)


@checked
def watch_merged(
    tenant_id: str, collection: str, *, filter: str, resume_token: str, fields: Iterable[str]
) -> Call[pb.WatchChangesRequest, pb.WatchChangesResponse, list[MergedChange]]:
    request = pb.WatchChangesRequest(
        tenant_id=tenant_id,
        collection=collection,
        view=pb.WATCH_VIEW_MERGED,
        filter=filter,
        resume_token=resume_token,
        fields=fields,
        response_encoding=ENCODING_JSON,
    )
    return Call(_WATCH_MERGED, request)


def _change_ref(change: ChangeLike) -> pb.ChangeRef:
    if isinstance(change, Change):
        change = (change.collection, change.record_id, change.version)
    if not isinstance(change, tuple) or len(change) != CHANGE_REF_PARTS:
        raise TypeError(
            f"change must be a Change, or a tuple of collection, record id and version, not {change!r:.100}; "
            "for all changes of a commit, write revert(commit_id=...)"
        )
    collection, record_id, version = change
    return pb.ChangeRef(collection=collection, record_id=record_id, version=version)
