"""Conversion of DraftService messages to models."""

from __future__ import annotations

from collections.abc import Iterable

from draftline._core.conflicts import conflict_of
from draftline._core.content_responses import record_of, time_of
from draftline._core.field_warnings import field_warnings_of, warn_of_fields
from draftline._core.status import error_of_status
from draftline.models import (
    CommitResult,
    DraftKind,
    DraftUser,
    MergedPage,
    MergedRecord,
    Record,
    RecordState,
    Results,
    SaveResult,
    SyncInfo,
)
from draftline.models.str_enum import member_of
from draftline.v1 import draft_pb2 as pb
from draftline.v1.content_pb2 import GetContentResponse

Included = dict[tuple[str, str], MergedRecord]


def merged_record_of(message: pb.MergedRecord, included: Included | None = None) -> MergedRecord:
    return MergedRecord(
        record=record_of(message.record, message.related, included),
        state=member_of(RecordState, pb.RecordState, message.state),
        draft_kind=member_of(DraftKind, pb.DraftKind, message.draft_kind) if message.draft_kind else None,
        draft_version=message.draft_version,
        modified_fields=tuple(message.modified_fields),
        modified_by=message.modified_by,
        modify_time=time_of(message.modify_time) if message.HasField("modify_time") else None,
        session_id=message.session_id,
        change_reason=message.change_reason,
        conflicts=tuple(conflict_of(each) for each in message.conflicts),
        modified_attributes=tuple(message.modified_attributes),
        sync=sync_info_of(message.sync) if message.HasField("sync") else None,
    )


def sync_info_of(message: pb.SyncInfo) -> SyncInfo:
    return SyncInfo(
        state=member_of(RecordState, pb.RecordState, message.state),
        reason=message.reason,
        message=message.message,
        field=message.field,
        conflicts=tuple(conflict_of(each) for each in message.conflicts),
        attempts=message.attempts,
        next_attempt_time=time_of(message.next_attempt_time) if message.HasField("next_attempt_time") else None,
        due_since=time_of(message.due_since) if message.HasField("due_since") else None,
        acknowledged_version=message.acknowledged_version,
    )


def included_of(messages: Iterable[pb.MergedRecord]) -> Included:
    """Return the related records of a response by collection and id; each of them knows all of them."""
    included: Included = {}
    for each in messages:
        included[each.record.collection, each.record.record_id] = merged_record_of(each, included)
    return included


def merged_records_of(response: pb.GetMergedResponse | pb.StreamMergedResponse) -> list[MergedRecord]:
    """Return the records of a list, and warn of fields that its collection does not have."""
    warn_of_fields(response)
    included = included_of(response.included)
    return [merged_record_of(each, included) for each in response.records]


def merged_page_of(response: pb.GetMergedResponse) -> MergedPage:
    included = included_of(response.included)
    return MergedPage(
        records=tuple(merged_record_of(each, included) for each in response.records),
        next_page_token=response.next_page_token,
        total_size=response.total_size if response.HasField("total_size") else None,
        warnings=field_warnings_of(response),
        included=included,
    )


def record_with_related_of(response: GetContentResponse) -> Record:
    """Return the record of GetContent, with its related records."""
    return record_of(response.record, response.related, included_of(response.included))


def save_results_of(response: pb.SaveDraftResponse) -> list[SaveResult]:
    return [_save_result_of(each) for each in response.results]


def _save_result_of(message: pb.SaveDraftResult) -> SaveResult:
    if message.status.code:
        return SaveResult(error=error_of_status(message.status))
    return SaveResult(merged_record_of(message.record) if message.HasField("record") else None)


def commit_results_of(response: pb.CommitResponse) -> Results[CommitResult]:
    results = (
        CommitResult(
            record_id=each.record_id,
            record=record_of(each.record) if each.HasField("record") else None,
            changed_fields=tuple(each.changed_fields),
            conflicts=tuple(conflict_of(conflict) for conflict in each.conflicts),
            error=error_of_status(each.status) if each.status.code else None,
            changed_attributes=tuple(each.changed_attributes),
        )
        for each in response.results
    )
    return Results(results, response.commit_id, response.selected_count)


def discarded_of(response: pb.DiscardResponse) -> Results[MergedRecord]:
    return Results((merged_record_of(each) for each in response.records), "", response.selected_count)


def draft_users_of(response: pb.ListDraftUsersResponse) -> list[DraftUser]:
    return [
        DraftUser(
            user_id=each.user_id,
            draft_count=each.draft_count,
            collection_count=each.collection_count,
            oldest_create_time=time_of(each.oldest_create_time),
            newest_modify_time=time_of(each.newest_modify_time),
        )
        for each in response.users
    ]
