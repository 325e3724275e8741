"""Conversion between messages of draft.proto and domain values."""

from __future__ import annotations

from collections.abc import Sequence

from draftline.v1 import draft_pb2, types_pb2

from ...domain.content import Limits
from ...domain.drafts import (
    ChangeByDelta,
    ChangeByOperations,
    Conflict,
    ConflictKind,
    Creation,
    Deletion,
    DraftEdit,
    DraftKind,
    MergedRecord,
    Resolution,
    Side,
    edit_of_delta,
)
from ...domain.edits import Strategy
from ...domain.errors import InvalidFieldError
from ...domain.filters.ast import FilterError
from ...domain.filters.parser import parse_filter, parse_order_by
from ...domain.merged import MergedQuery, View
from ...domain.records import Actor
from ...store.lists.field_names import UnknownField
from ...store.record_errors import invalid_filter
from .documents import document_text, document_value, json_value, to_json_value
from .records import STRATEGIES, Presentation, fill_record, to_operations, to_timestamp
from .sync import fill_sync_info

VIEWS = {
    draft_pb2.VIEW_UNSPECIFIED: View.MERGED,
    draft_pb2.VIEW_MERGED: View.MERGED,
    draft_pb2.VIEW_BASELINE: View.BASELINE,
    draft_pb2.VIEW_DRAFTS_ONLY: View.DRAFTS_ONLY,
}
KINDS = {
    DraftKind.CHANGE: draft_pb2.DRAFT_KIND_CHANGE,
    DraftKind.CREATE: draft_pb2.DRAFT_KIND_CREATE,
    DraftKind.DELETE: draft_pb2.DRAFT_KIND_DELETE,
}
CONFLICT_KINDS = {
    ConflictKind.VALUE: draft_pb2.CONFLICT_KIND_VALUE,
    ConflictKind.DELETED: draft_pb2.CONFLICT_KIND_DELETED,
    ConflictKind.CREATED: draft_pb2.CONFLICT_KIND_CREATED,
    ConflictKind.CHANGED: draft_pb2.CONFLICT_KIND_CHANGED,
}
SIDES = {draft_pb2.SIDE_MINE: Side.MINE, draft_pb2.SIDE_THEIRS: Side.THEIRS}
MAX_SHOWN_CONFLICTS = 100  # per record in a list


def to_draft_edit(message: draft_pb2.DraftEdit, limits: Limits) -> DraftEdit:
    """Return the edit of a message. Raises InvalidFieldError if its fields cannot be combined."""
    kind = message.WhichOneof("edit")
    attributes = _attributes(message)
    if kind is None and not attributes:
        problem = "one of delta, operations, create, delete, parent_id and position must be set"
        raise InvalidFieldError.of("edit", problem)
    if kind != "delta" and message.strategy != types_pb2.MERGE_STRATEGY_UNSPECIFIED:
        raise InvalidFieldError.of("strategy", "may be set only with delta")
    strategy = STRATEGIES[message.strategy]
    if message.depth and strategy is not Strategy.DEEP:
        raise InvalidFieldError.of("depth", "may be set only with MERGE_STRATEGY_DEEP")
    action: ChangeByDelta | ChangeByOperations | Creation | Deletion = Deletion()
    if kind is None:
        action = ChangeByDelta({})
    elif kind == "delta":
        delta = document_value(message.delta, limits, "delta")
        action = ChangeByDelta(edit_of_delta(delta, strategy, message.depth))
    elif kind == "operations":
        action = _operations(message.operations, limits)
    elif kind == "create":
        action = Creation(document_text(message.create, limits, "create"))
    return DraftEdit(
        message.record_id,
        action,
        message.expected_draft_version if message.HasField("expected_draft_version") else None,
        message.base_version if message.HasField("base_version") else None,
        message.replace,
        attributes,
        message.allow_deleted,
    )


def _attributes(message: draft_pb2.DraftEdit) -> dict[str, str | int | None]:
    """Return the attributes that an edit sets; None removes an attribute."""
    moves, places = message.HasField("parent_id"), message.HasField("position")
    if not (moves or places or message.clear_position or message.allow_deleted):
        return {}
    set_fields = [name for name, is_set in (("parent_id", moves), ("position", places)) if is_set]
    set_fields += [name for name in ("clear_position", "allow_deleted") if getattr(message, name)]
    if message.WhichOneof("edit") == "delete":
        raise InvalidFieldError.of(set_fields[0], "must not be set with delete")
    if message.clear_position and places:
        raise InvalidFieldError.of("clear_position", "must not be set with position")
    attributes: dict[str, str | int | None] = {}
    if moves:
        attributes["parent_id"] = message.parent_id or None
    if places or message.clear_position:
        attributes["position"] = None if message.clear_position else message.position
    return attributes


def to_resolutions(messages: Sequence[draft_pb2.Resolution], limits: Limits) -> list[Resolution]:
    return [
        Resolution(
            message.record_id,
            message.path,
            message.version,
            SIDES[message.side] if message.WhichOneof("decision") == "side" else None,
            json_value(message.value, limits, f"resolutions[{index}].value") if message.HasField("value") else None,
        )
        for index, message in enumerate(messages)
    ]


def _operations(message: types_pb2.OperationList, limits: Limits) -> ChangeByOperations:
    for index, step in enumerate(message.operations):
        if step.op == "test":
            raise InvalidFieldError.of(
                f"operations.operations[{index}].op", "test is not allowed in a draft, which stores no conditions"
            )
    return ChangeByOperations(to_operations(message, limits).steps)


def to_query(request: draft_pb2.GetMergedRequest | draft_pb2.StreamMergedRequest) -> MergedQuery:
    """Return the query of a request. Raises InvalidFilterError or InvalidFieldError with the position of the error."""
    try:
        condition = parse_filter(request.filter)
    except FilterError as error:
        raise invalid_filter("filter", error) from None
    try:
        order = parse_order_by(request.order_by)
    except FilterError as error:
        raise InvalidFieldError.of("order_by", f"at character {error.position}: {error.message}") from None
    return MergedQuery(
        request.collection,
        condition,
        request.filter,
        order,
        request.order_by,
        tuple(request.record_ids) if isinstance(request, draft_pb2.GetMergedRequest) else (),
        request.session_id,
        VIEWS[request.view],
        request.show_deleted,
    )


def to_field_warning(unknown: UnknownField) -> draft_pb2.FieldWarning:
    named = unknown.field
    return draft_pb2.FieldWarning(
        argument=named.argument, name=named.name, suggestion=unknown.suggestion, message=unknown.message
    )


def fill_merged(
    message: draft_pb2.MergedRecord, merged: MergedRecord, actor: Actor, presentation: Presentation
) -> None:
    """Fill an empty message in place with the record and its draft."""
    record = merged.record
    fill_record(message.record, record, actor.tenant_id, presentation, with_content=bool(record.content))
    fill_merged_state(message, merged, presentation)


def fill_merged_state(message: draft_pb2.MergedRecord, merged: MergedRecord, presentation: Presentation) -> None:
    """Fill the fields of a message except its record."""
    if merged.sync is not None:
        fill_sync_info(message.sync, merged.sync, presentation.response_encoding)
    if merged.draft_kind is None:
        message.state = draft_pb2.RECORD_STATE_PRISTINE if merged.sync is None else message.sync.state
        return
    message.state = draft_pb2.RECORD_STATE_DRAFT
    message.draft_kind = KINDS[merged.draft_kind]
    message.draft_version = merged.draft_version
    message.modified_fields.extend(merged.modified_fields)
    if merged.modified_attributes:
        message.modified_attributes.extend(merged.modified_attributes)
    message.modified_by = merged.modified_by
    if merged.modified_at is not None:
        message.modify_time.CopyFrom(to_timestamp(merged.modified_at))
    message.session_id = merged.session_id
    message.change_reason = merged.change_reason
    if merged.conflicts:
        shown = merged.conflicts[:MAX_SHOWN_CONFLICTS]
        message.conflicts.extend(to_conflict(conflict, presentation.response_encoding) for conflict in shown)


def to_conflict(conflict: Conflict, encoding: int) -> draft_pb2.Conflict:
    return draft_pb2.Conflict(
        collection=conflict.collection,
        record_id=conflict.record_id,
        kind=CONFLICT_KINDS[conflict.kind],
        path=conflict.path,
        base=to_json_value(conflict.base, encoding),
        mine=to_json_value(conflict.mine, encoding),
        theirs=to_json_value(conflict.theirs, encoding),
        version=conflict.version,
    )
