"""Conversion of response messages to models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone

from google.protobuf.timestamp_pb2 import Timestamp

from draftline._core.field_warnings import FieldWarnings, field_warnings_of, warn_of_fields
from draftline._core.statistic_calls import statistic_of
from draftline._core.status import error_of_status
from draftline.documents import content_of, decode
from draftline.models import (
    BatchResult,
    ChangeHistory,
    Collection,
    CollectionIndex,
    CollectionRelation,
    DanglingReferences,
    DeclaredField,
    DeclaredOrder,
    DeclaredRelation,
    FieldType,
    ImportResult,
    IndexState,
    MergedRecord,
    OnTypeMismatch,
    PatchResult,
    PurgeResult,
    Record,
    RelatedIds,
    RelationIntegrity,
    Results,
    SortKey,
)
from draftline.models.str_enum import member_of
from draftline.v1 import collection_pb2, content_pb2, draft_pb2, types_pb2


def time_of(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=timezone.utc)


def record_of(
    message: types_pb2.Record,
    related: Iterable[draft_pb2.Related] = (),
    included: Mapping[tuple[str, str], MergedRecord] | None = None,
) -> Record:
    """Return a record, with its relations and the related records of its response."""
    return Record(
        tenant_id=message.tenant_id,
        collection=message.collection,
        record_id=message.record_id,
        content=content_of(message.content),
        version=message.version,
        parent_id=message.parent_id if message.HasField("parent_id") else None,
        position=message.position if message.HasField("position") else None,
        create_time=time_of(message.create_time),
        created_by=message.created_by,
        update_time=time_of(message.update_time),
        updated_by=message.updated_by,
        delete_time=time_of(message.delete_time) if message.HasField("delete_time") else None,
        relations={
            each.relation: RelatedIds(each.collection, tuple(each.record_ids), each.has_more) for each in related
        },
        included={} if included is None else included,
    )


def patch_result_of(message: content_pb2.PatchContentResponse | content_pb2.BatchPatchContentResult) -> PatchResult:
    return PatchResult(record_of(message.record), tuple(message.changed_fields), _warnings_of(message))


def deleted_record_of(response: content_pb2.DeleteContentResponse) -> Record | None:
    warn_of_fields(response)
    return record_of(response.record) if response.HasField("record") else None


def _warnings_of(message: content_pb2.PatchContentResponse | content_pb2.BatchPatchContentResult) -> FieldWarnings:
    warn_of_fields(message)
    return field_warnings_of(message)


def purge_result_of(response: content_pb2.PurgeContentResponse) -> PurgeResult:
    return PurgeResult(tuple(response.record_ids), response.draft_count, response.remaining_count)


def batch_results_of(response: content_pb2.BatchPatchContentResponse) -> Results[BatchResult]:
    results = (
        BatchResult(error=error_of_status(each.status), warnings=_warnings_of(each))
        if each.status.code
        else BatchResult(result=patch_result_of(each), warnings=field_warnings_of(each))
        for each in response.results
    )
    return Results(results, response.commit_id)


def import_result_of(response: content_pb2.ImportContentResponse) -> ImportResult:
    return ImportResult(
        inserted_count=response.inserted_count,
        updated_count=response.updated_count,
        unchanged_count=response.unchanged_count,
        deleted_count=response.deleted_count,
        commit_id=response.commit_id,
    )


def _order_of(message: collection_pb2.DeclaredOrder) -> DeclaredOrder:
    return DeclaredOrder(tuple(SortKey(key.path, key.descending) for key in message.keys))


def _field_of(message: collection_pb2.DeclaredField) -> DeclaredField:
    kind = member_of(FieldType, collection_pb2.FieldType, message.type)
    if message.on_type_mismatch == collection_pb2.ON_TYPE_MISMATCH_UNSPECIFIED:
        return DeclaredField(message.path, kind)
    policy = member_of(OnTypeMismatch, collection_pb2.OnTypeMismatch, message.on_type_mismatch)
    return DeclaredField(message.path, kind, policy)


def _index_of(message: collection_pb2.CollectionIndex) -> CollectionIndex:
    state = member_of(IndexState, collection_pb2.IndexState, message.state)
    return CollectionIndex(_order_of(message.order), state, message.record_count, message.record_total)


def collection_of(message: collection_pb2.Collection) -> Collection:
    return Collection(
        tenant_id=message.tenant_id,
        collection=message.collection,
        fields=tuple(_field_of(each) for each in message.fields),
        orders=tuple(_order_of(each) for each in message.orders),
        json_schema=decode(message.json_schema) if message.json_schema else None,
        version=message.version,
        indexes=tuple(_index_of(each) for each in message.indexes),
        create_time=time_of(message.create_time) if message.HasField("create_time") else None,
        update_time=time_of(message.update_time) if message.HasField("update_time") else None,
        history=_history_of(message.history),
        statistics=tuple(statistic_of(each) for each in message.statistics),
        relations=tuple(_relation_of(each) for each in message.relations),
    )


def _relation_of(message: collection_pb2.CollectionRelation) -> CollectionRelation:
    declared, state = message.relation, None
    if message.state != collection_pb2.INDEX_STATE_UNSPECIFIED:
        state = member_of(IndexState, collection_pb2.IndexState, message.state)
    integrity = RelationIntegrity.NONE
    if declared.integrity != collection_pb2.RELATION_INTEGRITY_UNSPECIFIED:
        integrity = member_of(RelationIntegrity, collection_pb2.RelationIntegrity, declared.integrity)
    dangling = None
    if message.HasField("dangling"):
        dangling = DanglingReferences(message.dangling.count, tuple(message.dangling.record_ids))
    return CollectionRelation(
        DeclaredRelation(declared.name, declared.field, declared.collection, declared.inverse, integrity),
        state,
        dangling,
    )


def _history_of(history: collection_pb2.ChangeHistory.ValueType) -> ChangeHistory:
    if history == collection_pb2.CHANGE_HISTORY_UNSPECIFIED:
        return ChangeHistory.VALUES
    return member_of(ChangeHistory, collection_pb2.ChangeHistory, history)


def counted_collection_of(message: collection_pb2.GetCollectionResponse) -> Collection:
    """Return the collection, with the counts of mistyped values if they were requested."""
    return replace(collection_of(message.collection), mismatch_counts=dict(message.mismatch_counts) or None)
