"""Conversion of SyncService messages to models."""

from __future__ import annotations

from draftline._core.conflicts import conflict_of
from draftline._core.content_responses import time_of
from draftline._core.draft_responses import sync_info_of
from draftline.models import (
    Sync,
    SyncCollection,
    SyncCollectionStatus,
    SyncDirection,
    SyncEvent,
    SyncField,
    SyncPolicy,
    SyncPreviewKind,
    SyncPreviewRecord,
    SyncPushPreview,
    SyncRecord,
    SyncStatus,
)
from draftline.models.str_enum import member_of
from draftline.v1 import sync_pb2 as pb


def sync_of(
    response: pb.PutSyncResponse | pb.GetSyncResponse | pb.PauseSyncResponse | pb.ResumeSyncResponse,
) -> Sync:
    return _sync_of(response.sync)


def syncs_of(response: pb.ListSyncsResponse) -> list[Sync]:
    return [_sync_of(each) for each in response.syncs]


def nothing_of(response: pb.LinkRecordResponse) -> None:
    del response


def previews_of(response: pb.RunSyncResponse) -> list[SyncPushPreview]:
    return [
        SyncPushPreview(
            collection=each.collection,
            created=each.created,
            updated=each.updated,
            deleted=each.deleted,
            repeated_writes=each.repeated_writes,
            read=each.read,
            conflicts=each.conflicts,
            failed=each.failed,
            awaits_snapshot=each.awaits_snapshot,
            is_stopped=each.is_stopped,
            examples=tuple(
                SyncPreviewRecord(example.record_id, member_of(SyncPreviewKind, pb.SyncPreviewKind, example.kind))
                for example in each.examples
            ),
        )
        for each in response.previews
    ]


def retried_of(response: pb.RetrySyncResponse) -> int:
    return response.retried


def conflicts_left_of(response: pb.ResolveSyncResponse) -> int:
    return response.conflicts_left


def sync_status_of(response: pb.GetSyncStatusResponse) -> SyncStatus:
    return SyncStatus(
        committed=response.committed,
        syncing=response.syncing,
        failed=response.failed,
        conflicts=response.conflicts,
        synced=response.synced,
        due_since=time_of(response.due_since) if response.HasField("due_since") else None,
        collections=tuple(
            SyncCollectionStatus(
                collection=each.collection,
                committed=each.committed,
                syncing=each.syncing,
                failed=each.failed,
                conflicts=each.conflicts,
                pull_time=time_of(each.pull_time) if each.HasField("pull_time") else None,
                snapshot_time=time_of(each.snapshot_time) if each.HasField("snapshot_time") else None,
            )
            for each in response.collections
        ),
    )


def sync_records_of(response: pb.ListSyncRecordsResponse) -> list[SyncRecord]:
    return [
        SyncRecord(
            collection=each.collection,
            record_id=each.record_id,
            sync=sync_info_of(each.sync),
            version=each.version,
            remote_id=each.remote_id,
            remote_version=each.remote_version,
        )
        for each in response.records
    ]


def sync_events_of(response: pb.ListSyncEventsResponse) -> list[SyncEvent]:
    return [
        SyncEvent(
            kind=each.kind,
            collection=each.collection,
            record_id=each.record_id,
            reason=each.reason,
            message=each.message,
            conflicts=tuple(conflict_of(conflict) for conflict in each.conflicts),
            event_time=time_of(each.event_time),
        )
        for each in response.events
    ]


def _sync_of(message: pb.Sync) -> Sync:
    spec = message.spec
    return Sync(
        tenant_id=message.tenant_id,
        upstream=message.upstream,
        endpoint=spec.endpoint,
        collections=tuple(_collection_of(each) for each in spec.collections),
        pull_interval_s=spec.pull_interval_s,
        snapshot_interval_s=spec.snapshot_interval_s,
        push=not spec.no_push,
        pull=not spec.no_pull,
        accept_overwrites=spec.accept_overwrites,
        batch_by_commit=spec.batch_by_commit,
        version=message.version,
        push_paused=message.push_paused,
        pull_paused=message.pull_paused,
        suspended_reason=message.suspended_reason,
        suspended_message=message.suspended_message,
        create_time=time_of(message.create_time),
        update_time=time_of(message.update_time),
    )


def _collection_of(message: pb.SyncCollection) -> SyncCollection:
    return SyncCollection(
        collection=message.collection,
        resource=message.resource,
        fields=tuple(
            SyncField(
                path=each.path,
                remote_path=each.remote_path,
                direction=member_of(SyncDirection, pb.SyncDirection, each.direction),
                type=each.type,
                format=each.format,
                values=dict(each.values),
            )
            for each in message.fields
        ),
        policy=member_of(SyncPolicy, pb.SyncPolicy, message.policy),
        rules={each.path: member_of(SyncPolicy, pb.SyncPolicy, each.policy) for each in message.rules},
    )
