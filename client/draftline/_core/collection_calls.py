"""The calls of CollectionService."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from draftline._core.arguments import checked
from draftline._core.content_responses import collection_of, counted_collection_of
from draftline._core.methods import Call, Method
from draftline._core.requests import OrderLike, declared_fields, declared_order, json_of, request_id_of
from draftline._core.statistic_calls import declared_statistic
from draftline.models import (
    ChangeHistory,
    Collection,
    DeclaredField,
    DeclaredRelation,
    DeclaredStatistic,
    FieldType,
    RelationIntegrity,
)
from draftline.v1 import collection_pb2 as pb

_SERVICE = "CollectionService"

PUT_COLLECTION = Method(
    _SERVICE,
    "PutCollection",
    pb.PutCollectionRequest,
    pb.PutCollectionResponse,
    lambda it: collection_of(it.collection),
)
GET_COLLECTION = Method(
    _SERVICE,
    "GetCollection",
    pb.GetCollectionRequest,
    pb.GetCollectionResponse,
    counted_collection_of,
    is_read=True,
)
LIST_COLLECTIONS = Method(
    _SERVICE,
    "ListCollections",
    pb.ListCollectionsRequest,
    pb.ListCollectionsResponse,
    lambda it: [collection_of(each) for each in it.collections],
    is_read=True,
)

METHODS = (PUT_COLLECTION, GET_COLLECTION, LIST_COLLECTIONS)


@checked
def put_collection(
    tenant_id: str,
    collection: str,
    *,
    fields: Iterable[DeclaredField] | Mapping[str, FieldType | str],
    orders: Iterable[OrderLike],
    json_schema: Mapping[str, Any] | None,
    history: ChangeHistory | str,
    statistics: Iterable[DeclaredStatistic],
    relations: Iterable[DeclaredRelation],
    expected_version: int | None,
    validate_only: bool,
    request_id: str | None,
) -> Call[pb.PutCollectionRequest, pb.PutCollectionResponse, Collection]:
    fields_sent = declared_fields(fields)
    paths = {each.path for each in fields_sent}
    request = pb.PutCollectionRequest(
        tenant_id=tenant_id,
        collection=collection,
        fields=fields_sent,
        orders=[declared_order(f"orders[{index}]", order, paths) for index, order in enumerate(orders)],
        json_schema="" if json_schema is None else json_of("json_schema", json_schema),
        history=pb.ChangeHistory.Value(f"CHANGE_HISTORY_{ChangeHistory(history).name}"),
        statistics=[declared_statistic(each) for each in statistics],
        relations=[
            pb.DeclaredRelation(
                name=each.name,
                field=each.field,
                collection=each.collection,
                inverse=each.inverse,
                integrity=pb.RelationIntegrity.Value(f"RELATION_INTEGRITY_{RelationIntegrity(each.integrity).name}"),
            )
            for each in relations
        ],
        expected_version=expected_version,
        validate_only=validate_only,
        request_id=request_id_of(request_id),
    )
    return Call(PUT_COLLECTION, request)


@checked
def get_collection(
    tenant_id: str, collection: str, *, include_mismatch_counts: bool, include_dangling: bool
) -> Call[pb.GetCollectionRequest, pb.GetCollectionResponse, Collection]:
    request = pb.GetCollectionRequest(
        tenant_id=tenant_id,
        collection=collection,
        include_mismatch_counts=include_mismatch_counts,
        include_dangling=include_dangling,
    )
    return Call(GET_COLLECTION, request)


@checked
def list_collections(
    tenant_id: str, *, page_size: int
) -> Call[pb.ListCollectionsRequest, pb.ListCollectionsResponse, list[Collection]]:
    """Build the call for the first page."""
    return Call(LIST_COLLECTIONS, pb.ListCollectionsRequest(tenant_id=tenant_id, page_size=page_size))
