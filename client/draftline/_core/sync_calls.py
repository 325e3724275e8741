"""The calls of SyncService."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from draftline._core.arguments import checked
from draftline._core.methods import Call, Method
from draftline._core.requests import json_of, request_id_of
from draftline._core.sync_responses import (
    conflicts_left_of,
    nothing_of,
    previews_of,
    retried_of,
    sync_events_of,
    sync_of,
    sync_records_of,
    sync_status_of,
    syncs_of,
)
from draftline.models import (
    RecordState,
    Sync,
    SyncCollection,
    SyncDirection,
    SyncEvent,
    SyncField,
    SyncPolicy,
    SyncPushPreview,
    SyncRecord,
    SyncRun,
    SyncStatus,
)
from draftline.v1 import draft_pb2, types_pb2
from draftline.v1 import sync_pb2 as pb
from draftline.v1.types_pb2 import ENCODING_JSON

_SERVICE = "SyncService"

PUT_SYNC = Method(_SERVICE, "PutSync", pb.PutSyncRequest, pb.PutSyncResponse, sync_of)
GET_SYNC = Method(_SERVICE, "GetSync", pb.GetSyncRequest, pb.GetSyncResponse, sync_of, is_read=True)
LIST_SYNCS = Method(_SERVICE, "ListSyncs", pb.ListSyncsRequest, pb.ListSyncsResponse, syncs_of, is_read=True)
PAUSE_SYNC = Method(_SERVICE, "PauseSync", pb.PauseSyncRequest, pb.PauseSyncResponse, sync_of)
RESUME_SYNC = Method(_SERVICE, "ResumeSync", pb.ResumeSyncRequest, pb.ResumeSyncResponse, sync_of)
RUN_SYNC = Method(_SERVICE, "RunSync", pb.RunSyncRequest, pb.RunSyncResponse, previews_of)
GET_SYNC_STATUS = Method(
    _SERVICE, "GetSyncStatus", pb.GetSyncStatusRequest, pb.GetSyncStatusResponse, sync_status_of, is_read=True
)
LIST_SYNC_RECORDS = Method(
    _SERVICE, "ListSyncRecords", pb.ListSyncRecordsRequest, pb.ListSyncRecordsResponse, sync_records_of, is_read=True
)
LIST_SYNC_EVENTS = Method(
    _SERVICE, "ListSyncEvents", pb.ListSyncEventsRequest, pb.ListSyncEventsResponse, sync_events_of, is_read=True
)
RETRY_SYNC = Method(_SERVICE, "RetrySync", pb.RetrySyncRequest, pb.RetrySyncResponse, retried_of)
RESOLVE_SYNC = Method(_SERVICE, "ResolveSync", pb.ResolveSyncRequest, pb.ResolveSyncResponse, conflicts_left_of)
LINK_RECORD = Method(_SERVICE, "LinkRecord", pb.LinkRecordRequest, pb.LinkRecordResponse, nothing_of)

METHODS: tuple[Method[Any, Any, Any], ...] = (
    PUT_SYNC, GET_SYNC, LIST_SYNCS, PAUSE_SYNC, RESUME_SYNC, RUN_SYNC, GET_SYNC_STATUS, LIST_SYNC_RECORDS,
    LIST_SYNC_EVENTS, RETRY_SYNC, RESOLVE_SYNC, LINK_RECORD,
)  # fmt: skip


@checked
def put_sync(
    tenant_id: str,
    upstream: str,
    endpoint: str,
    collections: Iterable[SyncCollection | str],
    *,
    pull_interval_s: int,
    snapshot_interval_s: int,
    push: bool,
    pull: bool,
    accept_overwrites: bool,
    batch_by_commit: bool,
    expected_version: int | None,
    request_id: str | None,
) -> Call[pb.PutSyncRequest, pb.PutSyncResponse, Sync]:
    request = pb.PutSyncRequest(
        tenant_id=tenant_id,
        upstream=upstream,
        spec=pb.SyncSpec(
            endpoint=endpoint,
            collections=[_collection(each) for each in collections],
            pull_interval_s=pull_interval_s,
            snapshot_interval_s=snapshot_interval_s,
            no_push=not push,
            no_pull=not pull,
            accept_overwrites=accept_overwrites,
            batch_by_commit=batch_by_commit,
        ),
        request_id=request_id_of(request_id),
    )
    if expected_version is not None:
        request.expected_version = expected_version
    return Call(PUT_SYNC, request)


def _collection(collection: SyncCollection | str) -> pb.SyncCollection:
    if isinstance(collection, str):
        return pb.SyncCollection(collection=collection)
    return pb.SyncCollection(
        collection=collection.collection,
        resource=collection.resource,
        fields=[_field(each) for each in collection.fields],
        policy=_policy(collection.policy),
        rules=[pb.SyncRule(path=path, policy=_policy(policy)) for path, policy in collection.rules.items()],
    )


def _field(field: SyncField) -> pb.SyncField:
    return pb.SyncField(
        path=field.path,
        remote_path=field.remote_path,
        direction=pb.SyncDirection.Value(f"SYNC_DIRECTION_{SyncDirection(field.direction).name}"),
        type=field.type,
        format=field.format,
        values=field.values,
    )


def _policy(policy: SyncPolicy | str) -> pb.SyncPolicy.ValueType:
    return pb.SyncPolicy.Value(f"SYNC_POLICY_{SyncPolicy(policy).name}")


@checked
def get_sync(tenant_id: str, upstream: str) -> Call[pb.GetSyncRequest, pb.GetSyncResponse, Sync]:
    return Call(GET_SYNC, pb.GetSyncRequest(tenant_id=tenant_id, upstream=upstream))


@checked
def list_syncs(tenant_id: str, *, page_size: int) -> Call[pb.ListSyncsRequest, pb.ListSyncsResponse, list[Sync]]:
    """Build the call for the first page."""
    return Call(LIST_SYNCS, pb.ListSyncsRequest(tenant_id=tenant_id, page_size=page_size))


@checked
def pause_sync(
    tenant_id: str, upstream: str, *, push: bool, pull: bool, request_id: str | None
) -> Call[pb.PauseSyncRequest, pb.PauseSyncResponse, Sync]:
    request = pb.PauseSyncRequest(
        tenant_id=tenant_id, upstream=upstream, push=push, pull=pull, request_id=request_id_of(request_id)
    )
    return Call(PAUSE_SYNC, request)


@checked
def resume_sync(
    tenant_id: str, upstream: str, *, push: bool, pull: bool, request_id: str | None
) -> Call[pb.ResumeSyncRequest, pb.ResumeSyncResponse, Sync]:
    request = pb.ResumeSyncRequest(
        tenant_id=tenant_id, upstream=upstream, push=push, pull=pull, request_id=request_id_of(request_id)
    )
    return Call(RESUME_SYNC, request)


@checked
def run_sync(
    tenant_id: str,
    upstream: str,
    run: SyncRun | str,
    *,
    allow_deletions: int,
    validate_only: bool,
    request_id: str | None,
) -> Call[pb.RunSyncRequest, pb.RunSyncResponse, list[SyncPushPreview]]:
    request = pb.RunSyncRequest(
        tenant_id=tenant_id,
        upstream=upstream,
        run=pb.SyncRun.Value(f"SYNC_RUN_{SyncRun(run).name}"),
        allow_deletions=allow_deletions,
        validate_only=validate_only,
        request_id=request_id_of(request_id),
    )
    return Call(RUN_SYNC, request)


@checked
def get_sync_status(
    tenant_id: str, upstream: str | None, commit_id: str | None
) -> Call[pb.GetSyncStatusRequest, pb.GetSyncStatusResponse, SyncStatus]:
    request = pb.GetSyncStatusRequest(tenant_id=tenant_id)
    if upstream is not None and commit_id is None:
        request.upstream = upstream
    elif commit_id is not None and upstream is None:
        request.commit_id = commit_id
    else:
        raise ValueError("set exactly one of upstream and commit_id")
    return Call(GET_SYNC_STATUS, request)


@checked
def list_sync_records(
    tenant_id: str, collection: str, *, state: RecordState | str | None, page_size: int
) -> Call[pb.ListSyncRecordsRequest, pb.ListSyncRecordsResponse, list[SyncRecord]]:
    """Build the call for the first page."""
    request = pb.ListSyncRecordsRequest(
        tenant_id=tenant_id,
        collection=collection,
        page_size=page_size,
        response_encoding=ENCODING_JSON,
    )
    if state is not None:
        request.state = draft_pb2.RecordState.Value(f"RECORD_STATE_{RecordState(state).name}")
    return Call(LIST_SYNC_RECORDS, request)


@checked
def list_sync_events(
    tenant_id: str, upstream: str, *, collection: str, record_id: str, page_size: int
) -> Call[pb.ListSyncEventsRequest, pb.ListSyncEventsResponse, list[SyncEvent]]:
    """Build the call for the first page."""
    request = pb.ListSyncEventsRequest(
        tenant_id=tenant_id,
        upstream=upstream,
        collection=collection,
        record_id=record_id,
        page_size=page_size,
        response_encoding=ENCODING_JSON,
    )
    return Call(LIST_SYNC_EVENTS, request)


@checked
def retry_sync(
    tenant_id: str,
    collection: str,
    record_ids: Iterable[str],
    *,
    all: bool,
    forget_attempts: bool,
    request_id: str | None,
) -> Call[pb.RetrySyncRequest, pb.RetrySyncResponse, int]:
    request = pb.RetrySyncRequest(
        tenant_id=tenant_id,
        collection=collection,
        record_ids=record_ids,
        all=all,
        forget_attempts=forget_attempts,
        request_id=request_id_of(request_id),
    )
    return Call(RETRY_SYNC, request)


@checked
def resolve_sync(
    tenant_id: str,
    collection: str,
    record_id: str,
    *,
    mine: Iterable[str],
    theirs: Iterable[str],
    values: Mapping[str, object],
    expected_version: int | None,
    change_reason: str,
    request_id: str | None,
) -> Call[pb.ResolveSyncRequest, pb.ResolveSyncResponse, int]:
    decisions = [pb.SyncDecision(path=path, side=draft_pb2.SIDE_MINE) for path in mine]
    decisions += [pb.SyncDecision(path=path, side=draft_pb2.SIDE_THEIRS) for path in theirs]
    for path, value in values.items():
        text = json_of(f"values[{path!r}]", value)
        decisions.append(pb.SyncDecision(path=path, value=types_pb2.JsonValue(json=text)))
    request = pb.ResolveSyncRequest(
        tenant_id=tenant_id,
        collection=collection,
        record_id=record_id,
        decisions=decisions,
        change_reason=change_reason,
        request_id=request_id_of(request_id),
    )
    if expected_version is not None:
        request.expected_version = expected_version
    return Call(RESOLVE_SYNC, request)


@checked
def link_record(
    tenant_id: str, collection: str, record_id: str, remote_id: str, *, request_id: str | None
) -> Call[pb.LinkRecordRequest, pb.LinkRecordResponse, None]:
    request = pb.LinkRecordRequest(
        tenant_id=tenant_id,
        collection=collection,
        record_id=record_id,
        remote_id=remote_id,
        request_id=request_id_of(request_id),
    )
    return Call(LINK_RECORD, request)
