"""The calls of ContentService. Documents are always requested as JSON text, in which numbers are exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from draftline._core.arguments import checked
from draftline._core.content_responses import (
    batch_results_of,
    deleted_record_of,
    import_result_of,
    patch_result_of,
    purge_result_of,
    record_of,
)
from draftline._core.draft_responses import record_with_related_of
from draftline._core.imports import ImportCall
from draftline._core.methods import Call, Method
from draftline._core.requests import document_of, merge_strategy, operation_list, request_id_of
from draftline.models import UNSET, BatchResult, ImportMode, Patch, PatchResult, PurgeResult, Record, Results
from draftline.v1 import content_pb2 as pb
from draftline.v1.types_pb2 import ENCODING_JSON

_SERVICE = "ContentService"

CREATE_CONTENT = Method(
    _SERVICE, "CreateContent", pb.CreateContentRequest, pb.CreateContentResponse, lambda it: record_of(it.record)
)
GET_CONTENT = Method(
    _SERVICE,
    "GetContent",
    pb.GetContentRequest,
    pb.GetContentResponse,
    record_with_related_of,
    is_read=True,
)
BATCH_GET_CONTENT = Method(
    _SERVICE,
    "BatchGetContent",
    pb.BatchGetContentRequest,
    pb.BatchGetContentResponse,
    lambda it: {each.record_id: record_of(each) for each in it.records},
    is_read=True,
)
PATCH_CONTENT = Method(_SERVICE, "PatchContent", pb.PatchContentRequest, pb.PatchContentResponse, patch_result_of)
BATCH_PATCH_CONTENT = Method(
    _SERVICE, "BatchPatchContent", pb.BatchPatchContentRequest, pb.BatchPatchContentResponse, batch_results_of
)
DELETE_CONTENT = Method(
    _SERVICE,
    "DeleteContent",
    pb.DeleteContentRequest,
    pb.DeleteContentResponse,
    deleted_record_of,
)
UNDELETE_CONTENT = Method(
    _SERVICE, "UndeleteContent", pb.UndeleteContentRequest, pb.UndeleteContentResponse, lambda it: record_of(it.record)
)
IMPORT_CONTENT = Method(_SERVICE, "ImportContent", pb.ImportContentRequest, pb.ImportContentResponse, import_result_of)

STREAM_PATCHES = Method(
    _SERVICE, "StreamPatches", pb.StreamPatchesRequest, pb.StreamPatchesResponse, lambda response: response.results
)
PURGE_CONTENT = Method(_SERVICE, "PurgeContent", pb.PurgeContentRequest, pb.PurgeContentResponse, purge_result_of)

METHODS = (
    CREATE_CONTENT,
    GET_CONTENT,
    BATCH_GET_CONTENT,
    PATCH_CONTENT,
    BATCH_PATCH_CONTENT,
    DELETE_CONTENT,
    UNDELETE_CONTENT,
    IMPORT_CONTENT,
    PURGE_CONTENT,
    STREAM_PATCHES,
)


@checked
def create_content(
    tenant_id: str,
    collection: str,
    content: Mapping[str, Any],
    *,
    record_id: str | None,
    parent_id: str | None,
    position: int | None,
    allow_deleted: bool,
    validate_only: bool,
    fields: Iterable[str],
    change_reason: str,
    request_id: str | None,
) -> Call[pb.CreateContentRequest, pb.CreateContentResponse, Record]:
    if record_id == "":
        raise ValueError("record_id must not be empty; None generates one")
    request = pb.CreateContentRequest(
        tenant_id=tenant_id,
        collection=collection,
        record_id="" if record_id is None else record_id,
        content=document_of("content", content),
        parent_id=parent_id,
        position=position,
        allow_deleted=allow_deleted,
        validate_only=validate_only,
        fields=fields,
        response_encoding=ENCODING_JSON,
        change_reason=change_reason,
        request_id=request_id_of(request_id),
    )
    return Call(CREATE_CONTENT, request)


@checked
def get_content(
    tenant_id: str,
    collection: str,
    record_id: str,
    *,
    fields: Iterable[str],
    show_deleted: bool,
    expand: Iterable[str],
    expand_limit: int,
    included_fields: Iterable[str],
) -> Call[pb.GetContentRequest, pb.GetContentResponse, Record]:
    request = pb.GetContentRequest(
        tenant_id=tenant_id,
        collection=collection,
        record_id=record_id,
        fields=fields,
        show_deleted=show_deleted,
        response_encoding=ENCODING_JSON,
        expand=expand,
        expand_limit=expand_limit,
        included_fields=included_fields,
    )
    return Call(GET_CONTENT, request)


@checked
def batch_get_content(
    tenant_id: str,
    collection: str,
    record_ids: Iterable[str],
    *,
    fields: Iterable[str],
    show_deleted: bool,
    allow_missing: bool,
) -> Call[pb.BatchGetContentRequest, pb.BatchGetContentResponse, dict[str, Record]]:
    request = pb.BatchGetContentRequest(
        tenant_id=tenant_id,
        collection=collection,
        record_ids=record_ids,
        fields=fields,
        show_deleted=show_deleted,
        allow_missing=allow_missing,
        response_encoding=ENCODING_JSON,
    )
    return Call(BATCH_GET_CONTENT, request)


@checked
def patch_content(
    tenant_id: str,
    collection: str,
    patch: Patch,
    *,
    validate_only: bool,
    change_reason: str,
    request_id: str | None,
) -> Call[pb.PatchContentRequest, pb.PatchContentResponse, PatchResult]:
    request = _patch_request(tenant_id, collection, patch)
    request.validate_only = validate_only
    request.change_reason = change_reason
    request.request_id = request_id_of(request_id)
    return Call(PATCH_CONTENT, request)


@checked
def batch_patch_content(
    tenant_id: str,
    collection: str,
    patches: Iterable[Patch],
    *,
    allow_partial: bool,
    validate_only: bool,
    change_reason: str,
    request_id: str | None,
) -> Call[pb.BatchPatchContentRequest, pb.BatchPatchContentResponse, Results[BatchResult]]:
    request = pb.BatchPatchContentRequest(
        tenant_id=tenant_id,
        requests=[_patch_request(tenant_id, collection, patch) for patch in patches],
        allow_partial=allow_partial,
        validate_only=validate_only,
        change_reason=change_reason,
        request_id=request_id_of(request_id),
    )
    return Call(BATCH_PATCH_CONTENT, request)


@checked
def delete_content(
    tenant_id: str,
    collection: str,
    record_id: str,
    *,
    expected_version: int | None,
    condition: str,
    allow_missing: bool,
    validate_only: bool,
    fields: Iterable[str],
    change_reason: str,
    request_id: str | None,
) -> Call[pb.DeleteContentRequest, pb.DeleteContentResponse, Record | None]:
    request = pb.DeleteContentRequest(
        tenant_id=tenant_id,
        collection=collection,
        record_id=record_id,
        expected_version=expected_version,
        condition=condition,
        allow_missing=allow_missing,
        validate_only=validate_only,
        fields=fields,
        response_encoding=ENCODING_JSON,
        change_reason=change_reason,
        request_id=request_id_of(request_id),
    )
    return Call(DELETE_CONTENT, request)


@checked
def undelete_content(
    tenant_id: str,
    collection: str,
    record_id: str,
    *,
    expected_version: int | None,
    validate_only: bool,
    fields: Iterable[str],
    change_reason: str,
    request_id: str | None,
) -> Call[pb.UndeleteContentRequest, pb.UndeleteContentResponse, Record]:
    request = pb.UndeleteContentRequest(
        tenant_id=tenant_id,
        collection=collection,
        record_id=record_id,
        expected_version=expected_version,
        validate_only=validate_only,
        fields=fields,
        response_encoding=ENCODING_JSON,
        change_reason=change_reason,
        request_id=request_id_of(request_id),
    )
    return Call(UNDELETE_CONTENT, request)


@checked
def purge_content(
    tenant_id: str,
    collection: str,
    record_ids: Iterable[str],
    *,
    deleted_before: datetime | None,
    limit: int,
    validate_only: bool,
    change_reason: str,
    request_id: str | None,
) -> Call[pb.PurgeContentRequest, pb.PurgeContentResponse, PurgeResult]:
    request = pb.PurgeContentRequest(
        tenant_id=tenant_id,
        collection=collection,
        record_ids=record_ids,
        limit=limit,
        validate_only=validate_only,
        change_reason=change_reason,
        request_id=request_id_of(request_id),
    )
    if deleted_before is not None:
        if deleted_before.tzinfo is None:
            raise ValueError("deleted_before must be an aware time, such as datetime.now(timezone.utc)")
        request.deleted_before.FromDatetime(deleted_before)
    return Call(PURGE_CONTENT, request)


@checked
def import_content(
    tenant_id: str,
    collection: str,
    *,
    mode: ImportMode | str,
    allow_empty: bool,
    change_reason: str,
    request_id: str | None,
) -> ImportCall:
    """Build the call with the header, which `imports` sends before the records."""
    header = pb.ImportHeader(
        tenant_id=tenant_id,
        collection=collection,
        mode=pb.ImportMode.Value(f"IMPORT_MODE_{ImportMode(mode).name}"),
        allow_empty=allow_empty,
        change_reason=change_reason,
        request_id=request_id_of(request_id),
    )
    return Call(IMPORT_CONTENT, pb.ImportContentRequest(header=header))


def _patch_request(tenant_id: str, collection: str, patch: Patch) -> pb.PatchContentRequest:
    if patch.delta is not None and patch.operations is not None:
        raise ValueError(f"the patch of {patch.record_id!r} must not set both delta and operations")
    return pb.PatchContentRequest(
        tenant_id=tenant_id,
        collection=collection if patch.collection is None else patch.collection,
        record_id=patch.record_id,
        delta=None if patch.delta is None else document_of("delta", patch.delta),
        operations=None if patch.operations is None else operation_list(patch.operations),
        strategy=merge_strategy(patch.strategy),
        depth=patch.depth,
        expected_version=patch.expected_version,
        condition=patch.condition,
        allow_missing=patch.allow_missing,
        allow_deleted=patch.allow_deleted,
        # None removes the parent, which is the empty string on the wire.
        parent_id=None if patch.parent_id is UNSET else patch.parent_id or "",
        position=patch.position,
        fields=patch.fields,
        response_encoding=ENCODING_JSON,
    )
