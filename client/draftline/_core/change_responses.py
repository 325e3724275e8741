"""Conversion of ChangeService messages to models."""

from __future__ import annotations

from typing import Any

from draftline._core.conflicts import conflict_of
from draftline._core.content_responses import record_of, time_of
from draftline._core.draft_responses import merged_record_of
from draftline._core.field_warnings import warn_of_fields
from draftline._core.status import error_of_status
from draftline.documents import json_value_of
from draftline.models import (
    UNSET,
    AttributeChange,
    Change,
    ChangeKind,
    ChangeSource,
    MergedChange,
    PathChange,
    Results,
    RevertResult,
)
from draftline.models.str_enum import member_of
from draftline.v1 import change_pb2 as pb


def changes_of(response: pb.ListChangesResponse | pb.WatchChangesResponse) -> list[Change]:
    return [_change_of(each) for each in response.changes]


def merged_changes_of(response: pb.WatchChangesResponse) -> list[MergedChange]:
    """Return the changes of a message. Issues an UnknownFieldWarning for each of its warnings."""
    warn_of_fields(response)
    return [
        MergedChange(each.record_id, merged_record_of(each.record) if each.HasField("record") else None)
        for each in response.merged
    ]


def revert_results_of(response: pb.RevertChangeResponse) -> Results[RevertResult]:
    results = (
        RevertResult(
            collection=each.collection,
            record_id=each.record_id,
            record=record_of(each.record) if each.HasField("record") else None,
            changed_fields=tuple(each.changed_fields),
            conflicts=tuple(conflict_of(conflict) for conflict in each.conflicts),
            error=error_of_status(each.status) if each.status.code else None,
        )
        for each in response.results
    )
    return Results(results, response.commit_id)


def _change_of(message: pb.Change) -> Change:
    return Change(
        tenant_id=message.tenant_id,
        collection=message.collection,
        record_id=message.record_id,
        version=message.version,
        kind=member_of(ChangeKind, pb.ChangeKind, message.kind),
        source=member_of(ChangeSource, pb.ChangeSource, message.source),
        paths=tuple(PathChange(each.path, *_values_of(each, UNSET)) for each in message.paths),
        values_omitted=message.values_omitted,
        attributes=tuple(AttributeChange(each.name, *_values_of(each, None)) for each in message.attributes),
        user_id=message.user_id,
        session_id=message.session_id,
        commit_id=message.commit_id,
        change_reason=message.change_reason,
        request_id=message.request_id,
        create_time=time_of(message.create_time),
    )


def _values_of(message: pb.PathChange | pb.AttributeChange, absent: Any) -> tuple[Any, Any]:
    """Return the old and the new value."""
    return (
        json_value_of(message.old_value) if message.HasField("old_value") else absent,
        json_value_of(message.new_value) if message.HasField("new_value") else absent,
    )
