"""Conversion between messages of sync.proto and domain values."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from draftline.v1 import draft_pb2, sync_pb2

from ...domain.content import Limits
from ...domain.edits import format_pointer, parse_pointer
from ...domain.errors import InvalidFieldError
from ...domain.sync import (
    DEFAULT_PULL_INTERVAL_S,
    DEFAULT_SNAPSHOT_INTERVAL_S,
    BoundCollection,
    FieldDirection,
    MappedField,
    Policies,
    Policy,
    PolicyRule,
    Sync,
    SyncSpec,
    SyncState,
    paths_overlap,
)
from ...domain.sync_records import (
    CollectionCounts,
    CommitCounts,
    Decision,
    PushPreview,
    SyncConflict,
    SyncEvent,
    SyncRecord,
)
from .documents import json_value, to_json_value
from .records import to_timestamp

POLICIES = {
    sync_pb2.SYNC_POLICY_UNSPECIFIED: Policy.HOLD,
    sync_pb2.SYNC_POLICY_HOLD: Policy.HOLD,
    sync_pb2.SYNC_POLICY_UPSTREAM_WINS: Policy.UPSTREAM_WINS,
    sync_pb2.SYNC_POLICY_LOCAL_WINS: Policy.LOCAL_WINS,
}
POLICY_VALUES = {policy: value for value, policy in POLICIES.items()}
DIRECTIONS = {
    sync_pb2.SYNC_DIRECTION_UNSPECIFIED: FieldDirection.BOTH,
    sync_pb2.SYNC_DIRECTION_BOTH: FieldDirection.BOTH,
    sync_pb2.SYNC_DIRECTION_PUSH: FieldDirection.PUSH,
    sync_pb2.SYNC_DIRECTION_PULL: FieldDirection.PULL,
}
DIRECTION_VALUES = {direction: value for value, direction in DIRECTIONS.items()}
STATES = {
    SyncState.PRISTINE: draft_pb2.RECORD_STATE_PRISTINE,
    SyncState.COMMITTED: draft_pb2.RECORD_STATE_COMMITTED,
    SyncState.SYNCING: draft_pb2.RECORD_STATE_SYNCING,
    SyncState.SYNCED: draft_pb2.RECORD_STATE_SYNCED,
    SyncState.SYNC_ERROR: draft_pb2.RECORD_STATE_SYNC_ERROR,
}
STATE_OF = {value: state for state, value in STATES.items()}
RUNS = {
    sync_pb2.SYNC_RUN_PUSH: "PUSH",
    sync_pb2.SYNC_RUN_CHANGES: "CHANGES",
    sync_pb2.SYNC_RUN_SNAPSHOT: "SNAPSHOT",
}
CONFLICT_KINDS = {
    "VALUE": draft_pb2.CONFLICT_KIND_VALUE,
    "DELETED": draft_pb2.CONFLICT_KIND_DELETED,
    "CHANGED": draft_pb2.CONFLICT_KIND_CHANGED,
}
PREVIEW_KINDS = {
    "CREATE": sync_pb2.SYNC_PREVIEW_KIND_CREATE,
    "UPDATE": sync_pb2.SYNC_PREVIEW_KIND_UPDATE,
    "DELETE": sync_pb2.SYNC_PREVIEW_KIND_DELETE,
    "REPEAT": sync_pb2.SYNC_PREVIEW_KIND_REPEAT,
    "READ": sync_pb2.SYNC_PREVIEW_KIND_READ,
    "CONFLICT": sync_pb2.SYNC_PREVIEW_KIND_CONFLICT,
    "FAILED": sync_pb2.SYNC_PREVIEW_KIND_FAILED,
}
MAX_SHOWN_CONFLICTS = 100
_encode = msgspec.json.Encoder(decimal_format="number").encode


def to_spec(upstream: str, message: sync_pb2.SyncSpec) -> SyncSpec:
    """Return the spec of a message. Raises InvalidFieldError if parts of it cannot be combined."""
    names = [each.collection for each in message.collections]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidFieldError.of(f"spec.collections[{index}].collection", "is named twice")
    return SyncSpec(
        upstream,
        message.endpoint,
        tuple(_bound(each, f"spec.collections[{index}]") for index, each in enumerate(message.collections)),
        message.pull_interval_s or DEFAULT_PULL_INTERVAL_S,
        message.snapshot_interval_s or DEFAULT_SNAPSHOT_INTERVAL_S,
        not message.no_push,
        not message.no_pull,
        message.accept_overwrites,
        message.batch_by_commit,
    )


def _bound(message: sync_pb2.SyncCollection, where: str) -> BoundCollection:
    fields = tuple(_field(each, f"{where}.fields[{index}]") for index, each in enumerate(message.fields))
    if (path := paths_overlap([each.path for each in fields])) is not None:
        raise InvalidFieldError.of(
            f"{where}.fields", f"{format_pointer(path)!r} is below another field, or named twice"
        )
    rules = tuple(
        PolicyRule(parse_pointer(each.path, f"{where}.rules[{index}].path"), POLICIES[each.policy])
        for index, each in enumerate(message.rules)
    )
    return BoundCollection(message.collection, message.resource, fields, Policies(POLICIES[message.policy], rules))


def _field(message: sync_pb2.SyncField, where: str) -> MappedField:
    if message.remote_path:
        parse_pointer(message.remote_path, f"{where}.remote_path")
    if message.values and message.type != "enum":
        raise InvalidFieldError.of(f"{where}.values", "may be set only with the type enum")
    if message.format and message.type != "date":
        raise InvalidFieldError.of(f"{where}.format", "may be set only with the type date")
    return MappedField(
        parse_pointer(message.path, f"{where}.path"),
        message.remote_path,
        DIRECTIONS[message.direction],
        message.type,
        message.format,
        dict(message.values),
    )


def to_sync(sync: Sync, tenant_id: str) -> sync_pb2.Sync:
    spec = sync.spec
    return sync_pb2.Sync(
        tenant_id=tenant_id,
        upstream=spec.upstream,
        spec=sync_pb2.SyncSpec(
            endpoint=spec.endpoint,
            collections=[_collection(each) for each in spec.collections],
            pull_interval_s=spec.pull_interval_s,
            snapshot_interval_s=spec.snapshot_interval_s,
            no_push=not spec.push,
            no_pull=not spec.pull,
            accept_overwrites=spec.accept_overwrites,
            batch_by_commit=spec.batch_by_commit,
        ),
        version=sync.version,
        push_paused=sync.push_paused,
        pull_paused=sync.pull_paused,
        suspended_reason=sync.suspended_reason,
        suspended_message=sync.suspended_message,
        create_time=to_timestamp(sync.created_at),
        update_time=to_timestamp(sync.updated_at),
    )


def _collection(bound: BoundCollection) -> sync_pb2.SyncCollection:
    return sync_pb2.SyncCollection(
        collection=bound.collection,
        resource=bound.resource,
        fields=[
            sync_pb2.SyncField(
                path=format_pointer(each.path),
                remote_path=each.remote,
                direction=DIRECTION_VALUES[each.direction],
                type=each.type,
                format=each.format,
                values=each.values,
            )
            for each in bound.fields
        ],
        policy=POLICY_VALUES[bound.policies.default],
        rules=[
            sync_pb2.SyncRule(path=format_pointer(rule.path), policy=POLICY_VALUES[rule.policy])
            for rule in bound.policies.rules
        ],
    )


def to_decisions(messages: Sequence[sync_pb2.SyncDecision], limits: Limits) -> list[Decision]:
    """Return the decisions of a request. Raises InvalidFieldError and InvalidDocumentError."""
    decisions = []
    for index, message in enumerate(messages):
        where = f"decisions[{index}]"
        if message.path:
            parse_pointer(message.path, f"{where}.path")
        elif len(messages) > 1:
            raise InvalidFieldError.of(f"{where}.path", "is empty, for the whole record: it must be the only decision")
        if message.WhichOneof("decision") == "side":
            decisions.append(Decision(message.path, message.side == draft_pb2.SIDE_THEIRS))
        else:
            value = json_value(message.value, limits, f"{where}.value")
            decisions.append(Decision(message.path, None, _encode(value).decode()))
    return decisions


def fill_sync_info(message: draft_pb2.SyncInfo, record: SyncRecord, encoding: int) -> None:
    """Fill an empty message in place."""
    message.state = STATES[record.state]
    message.acknowledged_version = record.acked_version
    if record.reason:
        message.reason, message.message, message.field = record.reason, record.message, record.field
    if record.tries:
        message.attempts = record.tries
    if record.conflicts:
        message.conflicts.extend(
            to_sync_conflict(each, record.collection, record.record_id, record.version, encoding)
            for each in record.conflicts[:MAX_SHOWN_CONFLICTS]
        )
    if record.next_at is not None:
        message.next_attempt_time.CopyFrom(to_timestamp(record.next_at))
    if record.due_since is not None:
        message.due_since.CopyFrom(to_timestamp(record.due_since))


def to_sync_conflict(
    conflict: SyncConflict, collection: str, record_id: str, version: int, encoding: int
) -> draft_pb2.Conflict:
    return draft_pb2.Conflict(
        collection=collection,
        record_id=record_id,
        kind=CONFLICT_KINDS[conflict.kind],
        path=conflict.path,
        base=to_json_value(conflict.base, encoding),
        mine=to_json_value(conflict.mine, encoding),
        theirs=to_json_value(conflict.theirs, encoding),
        version=version,
    )


def fill_sync_record(message: sync_pb2.SyncRecord, record: SyncRecord, encoding: int) -> None:
    """Fill an empty message in place."""
    message.collection, message.record_id, message.version = record.collection, record.record_id, record.version
    message.remote_id, message.remote_version = record.remote_id, record.remote_version
    fill_sync_info(message.sync, record, encoding)


def fill_sync_event(message: sync_pb2.SyncEvent, event: SyncEvent, encoding: int) -> None:
    """Fill an empty message in place."""
    message.kind, message.collection, message.record_id = event.kind, event.collection, event.record_id
    message.reason, message.message = event.reason, event.message
    message.conflicts.extend(
        to_sync_conflict(each, event.collection, event.record_id, 0, encoding)
        for each in event.conflicts[:MAX_SHOWN_CONFLICTS]
    )
    message.event_time.CopyFrom(to_timestamp(event.created_at))


def to_status(counts: Sequence[CollectionCounts]) -> sync_pb2.GetSyncStatusResponse:
    response = sync_pb2.GetSyncStatusResponse(
        committed=sum(each.committed for each in counts),
        syncing=sum(each.syncing for each in counts),
        failed=sum(each.failed for each in counts),
        conflicts=sum(each.conflicts for each in counts),
    )
    due = [each.oldest for each in counts if each.oldest is not None]
    if due:
        response.due_since.CopyFrom(to_timestamp(min(due)))
    for each in counts:
        status = response.collections.add(
            collection=each.collection,
            committed=each.committed,
            syncing=each.syncing,
            failed=each.failed,
            conflicts=each.conflicts,
        )
        if each.pulled_at is not None:
            status.pull_time.CopyFrom(to_timestamp(each.pulled_at))
        if each.snapshot_at is not None:
            status.snapshot_time.CopyFrom(to_timestamp(each.snapshot_at))
    return response


def to_commit_status(counts: CommitCounts) -> sync_pb2.GetSyncStatusResponse:
    """Return the status of the records of one commit."""
    response = sync_pb2.GetSyncStatusResponse(
        committed=counts.committed,
        syncing=counts.syncing,
        failed=counts.failed,
        conflicts=counts.conflicts,
        synced=counts.synced,
    )
    if counts.due_since is not None:
        response.due_since.CopyFrom(to_timestamp(counts.due_since))
    return response


def to_push_preview(preview: PushPreview) -> sync_pb2.SyncPushPreview:
    counts = preview.counts
    return sync_pb2.SyncPushPreview(
        collection=preview.collection,
        created=counts.get("CREATE", 0),
        updated=counts.get("UPDATE", 0),
        deleted=counts.get("DELETE", 0),
        repeated_writes=counts.get("REPEAT", 0),
        read=counts.get("READ", 0),
        conflicts=counts.get("CONFLICT", 0),
        failed=counts.get("FAILED", 0),
        awaits_snapshot=preview.awaits_snapshot,
        is_stopped=preview.is_stopped,
        examples=[
            sync_pb2.SyncPreviewRecord(record_id=record_id, kind=value)
            for kind, value in PREVIEW_KINDS.items()
            for record_id in preview.record_ids.get(kind, ())
        ],
    )
