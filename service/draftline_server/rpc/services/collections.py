"""The implementation of CollectionService."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace

from draftline.v1 import collection_pb2

from ...domain.changes import History
from ...domain.collections import CollectionSpec, IndexOrder, IndexState, declare
from ...domain.edits import format_pointer, parse_pointer
from ...domain.errors import InvalidFieldError
from ...domain.filters.ast import FieldType, Path
from ...domain.records import Actor
from ...domain.relations import RelationSpec
from ...store.collections.states import StoredCollection
from ...store.collections.store import CollectionStore
from ..mapping.records import to_timestamp
from ..mapping.relations import to_declared_relation, to_declared_relations
from ..mapping.statistics import to_collection_statistic, to_declared_statistics
from ..stored_responses import StoredResponses

FIELD_TYPES = {
    collection_pb2.FIELD_TYPE_TEXT: FieldType.TEXT,
    collection_pb2.FIELD_TYPE_NUMBER: FieldType.NUMBER,
    collection_pb2.FIELD_TYPE_BOOLEAN: FieldType.BOOLEAN,
    collection_pb2.FIELD_TYPE_DATE: FieldType.DATE,
    collection_pb2.FIELD_TYPE_TIMESTAMP: FieldType.TIMESTAMP,
}
FIELD_TYPE_VALUES = {type_: value for value, type_ in FIELD_TYPES.items()}
INDEX_STATES = {
    IndexState.BUILDING: collection_pb2.INDEX_STATE_BUILDING,
    IndexState.READY: collection_pb2.INDEX_STATE_READY,
    IndexState.INVALID: collection_pb2.INDEX_STATE_INVALID,
}
HISTORIES = {
    collection_pb2.CHANGE_HISTORY_UNSPECIFIED: History.VALUES,
    collection_pb2.CHANGE_HISTORY_VALUES: History.VALUES,
    collection_pb2.CHANGE_HISTORY_PATHS: History.PATHS,
}
HISTORY_VALUES = {history: value for value, history in HISTORIES.items()}
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class CollectionService:
    """The rpcs of CollectionService, which protos/draftline/v1/collection.proto documents."""

    collections: CollectionStore
    responses: StoredResponses

    async def PutCollection(  # noqa: N802
        self, request: collection_pb2.PutCollectionRequest, actor: Actor
    ) -> collection_pb2.PutCollectionResponse:
        stored = await self.collections.put(
            actor,
            to_collection_spec(request),
            expected_version=request.expected_version if request.HasField("expected_version") else None,
            validate_only=request.validate_only,
        )
        response = collection_pb2.PutCollectionResponse(collection=to_collection(stored, actor))
        if not request.validate_only:
            await self.responses.finish(actor, response)
        return response

    async def GetCollection(  # noqa: N802
        self, request: collection_pb2.GetCollectionRequest, actor: Actor
    ) -> collection_pb2.GetCollectionResponse:
        stored = await self.collections.get(actor, request.collection)
        counts: Mapping[Path, int] = {}
        if request.include_mismatch_counts:
            counts = await self.collections.mismatch_counts(actor, stored.spec)
        if request.include_dangling:
            stored = replace(stored, dangling=await self.collections.dangling(actor, request.collection))
        return collection_pb2.GetCollectionResponse(
            collection=to_collection(stored, actor),
            mismatch_counts={format_pointer(path): count for path, count in counts.items()},
        )

    async def ListCollections(  # noqa: N802
        self, request: collection_pb2.ListCollectionsRequest, actor: Actor
    ) -> collection_pb2.ListCollectionsResponse:
        size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        page, next_token = await self.collections.page(actor, size, request.page_token)
        return collection_pb2.ListCollectionsResponse(
            collections=[to_collection(stored, actor) for stored in page], next_page_token=next_token
        )


def to_collection_spec(request: collection_pb2.PutCollectionRequest) -> CollectionSpec:
    fields = [
        (_pointer(field.path, f"fields[{i}].path"), FIELD_TYPES[field.type]) for i, field in enumerate(request.fields)
    ]
    orders = [
        [(_pointer(key.path, f"orders[{i}].keys[{j}].path"), key.descending) for j, key in enumerate(order.keys)]
        for i, order in enumerate(request.orders)
    ]
    refusing = frozenset(
        path
        for (path, _), field in zip(fields, request.fields, strict=True)
        if field.on_type_mismatch == collection_pb2.ON_TYPE_MISMATCH_REFUSE
    )
    history = HISTORIES[request.history]
    statistics = to_declared_statistics(request.statistics)
    return declare(
        request.collection,
        fields,
        orders,
        request.json_schema,
        history,
        refusing=refusing,
        statistics=statistics,
        relations=to_declared_relations(request.relations),
    )


def _pointer(text: str, where: str) -> tuple[str, ...]:
    path = parse_pointer(text, where)
    if any(unicodedata.category(each) == "Cc" for each in text):
        raise InvalidFieldError.of(where, "must not contain control characters")
    return path


def to_collection(stored: StoredCollection, actor: Actor) -> collection_pb2.Collection:
    spec = stored.spec
    message = collection_pb2.Collection(
        tenant_id=actor.tenant_id,
        collection=spec.collection,
        fields=[
            collection_pb2.DeclaredField(
                path=format_pointer(path),
                type=FIELD_TYPE_VALUES[type_],
                on_type_mismatch=collection_pb2.ON_TYPE_MISMATCH_REFUSE
                if path in spec.refusing
                else collection_pb2.ON_TYPE_MISMATCH_ACCEPT,
            )
            for path, type_ in spec.fields.items()
        ],
        orders=[_order(order) for order in spec.orders],
        json_schema=spec.json_schema,
        version=spec.version,
        history=HISTORY_VALUES[spec.history],
        indexes=[
            collection_pb2.CollectionIndex(
                order=_order(order),
                state=INDEX_STATES[index.state],
                record_count=index.record_count,
                record_total=index.record_total,
            )
            for order, index in stored.indexes.items()
        ],
        statistics=[to_collection_statistic(each) for each in stored.statistics],
        relations=[_relation(each, stored) for each in spec.relations],
    )
    if spec.created_at is not None and spec.updated_at is not None:
        message.create_time.CopyFrom(to_timestamp(spec.created_at))
        message.update_time.CopyFrom(to_timestamp(spec.updated_at))
    return message


def _relation(spec: RelationSpec, stored: StoredCollection) -> collection_pb2.CollectionRelation:
    message = collection_pb2.CollectionRelation(relation=to_declared_relation(spec))
    if spec.has_index:
        message.state = INDEX_STATES[stored.relations.get(spec.path, IndexState.BUILDING)]
    if (dangling := stored.dangling.get(spec.name)) is not None:
        message.dangling.count = dangling.count
        message.dangling.record_ids.extend(dangling.record_ids)
    return message


def _order(order: IndexOrder) -> collection_pb2.DeclaredOrder:
    keys = [collection_pb2.SortKey(path=format_pointer(key.path), descending=key.descending) for key in order]
    return collection_pb2.DeclaredOrder(keys=keys)
