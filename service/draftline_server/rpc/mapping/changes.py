"""Conversion between messages of change.proto and domain values."""

from __future__ import annotations

from draftline.v1 import change_pb2, types_pb2

from ...domain.change_query import ChangeQuery, with_change_types
from ...domain.changes import Change, ChangeKind, ChangeRef, ChangeSource, PathChange, RevertResult
from ...domain.errors import InvalidFieldError
from ...domain.filters.ast import Filter, FilterError
from ...domain.filters.conditions import Condition
from ...domain.filters.parser import parse_filter, parse_order_by
from ...domain.records import Actor
from ...store.record_errors import invalid_filter
from ..status import to_status
from .documents import MAX_STRUCT_TEXT, to_json_value
from .drafts import to_conflict
from .records import fill_record, to_timestamp

KINDS = {kind: change_pb2.ChangeKind.Value(f"CHANGE_KIND_{kind}") for kind in ChangeKind}
SOURCES = {source: change_pb2.ChangeSource.Value(f"CHANGE_SOURCE_{source}") for source in ChangeSource}


def to_change_query(request: change_pb2.ListChangesRequest) -> ChangeQuery:
    """Return the query of a ListChanges request. Raises InvalidFilterError or InvalidFieldError."""
    if request.record_id and not request.collection:
        raise InvalidFieldError.of("collection", "must be set if record_id is set")
    return ChangeQuery(
        request.collection,
        request.record_id,
        to_change_filter(request.filter),
        request.filter,
        _oldest_first(request.order_by),
        request.omit_values,
    )


def to_change_filter(text: str) -> Filter[Condition] | None:
    """Parse a filter over changes. Raises InvalidFilterError if it is invalid."""
    try:
        tree = parse_filter(text)
        return with_change_types(tree) if tree is not None else None
    except FilterError as error:
        raise invalid_filter("filter", error) from None


def _oldest_first(text: str) -> bool:
    try:
        keys = parse_order_by(text)
    except FilterError as error:
        raise InvalidFieldError.of("order_by", f"at character {error.position}: {error.message}") from None
    if not keys:
        return False
    if len(keys) > 1 or keys[0].field.of_record or keys[0].field.path != ("create_time",):
        raise InvalidFieldError.of("order_by", "must be create_time or create_time desc")
    return not keys[0].descending


def to_change_target(request: change_pb2.RevertChangeRequest) -> ChangeRef | str:
    """Return the change to revert, or the id of the commit to revert."""
    if request.WhichOneof("target") == "commit_id":
        return request.commit_id.lower()
    return ChangeRef(request.change.collection, request.change.record_id, request.change.version)


def to_change(change: Change, tenant_id: str, encoding: int) -> change_pb2.Change:
    if sum(len(path.old_value or "") + len(path.new_value or "") for path in change.paths) > MAX_STRUCT_TEXT:
        encoding = types_pb2.ENCODING_JSON
    return change_pb2.Change(
        tenant_id=tenant_id,
        collection=change.collection,
        record_id=change.record_id,
        version=change.version,
        kind=KINDS[change.kind],
        source=SOURCES[change.source],
        paths=[_path(path, encoding) for path in change.paths],
        values_omitted=change.values_omitted,
        attributes=[
            change_pb2.AttributeChange(
                name=attribute.name,
                old_value=to_json_value(attribute.old_value, encoding),
                new_value=to_json_value(attribute.new_value, encoding),
            )
            for attribute in change.attributes
        ],
        user_id=change.user_id,
        session_id=change.session_id,
        commit_id=change.commit_id,
        change_reason=change.change_reason,
        request_id=change.request_id,
        create_time=to_timestamp(change.created_at),
    )


def _path(path: PathChange, encoding: int) -> change_pb2.PathChange:
    return change_pb2.PathChange(
        path=path.path,
        old_value=to_json_value(path.old_value, encoding),
        new_value=to_json_value(path.new_value, encoding),
    )


def fill_revert_result(
    message: change_pb2.RevertResult, result: RevertResult, request: change_pb2.RevertChangeRequest, actor: Actor
) -> None:
    message.collection = result.collection
    message.record_id = result.record_id
    message.status.CopyFrom(types_pb2.Status() if result.error is None else to_status(result.error))
    message.changed_fields.extend(result.changed_fields)
    message.conflicts.extend(to_conflict(conflict, request.response_encoding) for conflict in result.conflicts)
    if result.record is not None:
        fill_record(message.record, result.record, actor.tenant_id, request, with_content=shows_content(request))


def shows_content(request: change_pb2.RevertChangeRequest) -> bool:
    return request.include_content or request.validate_only
