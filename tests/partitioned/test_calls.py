"""Calls of each kind on partitioned tables. `make soak` runs all tests of stores and calls on them."""

from __future__ import annotations

from ..rpc.test_batch import (
    test_largest_batch_is_applied,
    test_partial_batch_tells_of_each_patch_what_became_of_it,
)
from ..rpc.test_content import (
    test_delete_checks_its_condition,
    test_records_of_other_tenants_and_collections_are_others,
    test_undeleted_record_is_as_it_was,
)
from ..rpc.test_draft_commits import (
    films,
    test_commit_writes_a_change_a_creation_and_a_deletion,
    test_conflict_tells_base_mine_and_theirs_in_error_list_and_preview,
    test_discard_answers_what_was_dropped,
    test_drafts_of_others_follow_a_commit_and_keep_their_base,
)
from ..rpc.test_import import (
    test_import_replaces_parent_and_position,
    test_snapshot_deletes_what_it_does_not_hold,
    test_upsert_counts_what_it_created_changed_and_left_alone,
)
from ..rpc.test_patch import (
    test_parent_position_and_delta_go_together,
    test_patch_that_may_create_starts_from_the_empty_object,
    test_stale_expected_version_is_aborted_with_the_current_one,
)
from ..rpc.test_purge import (
    changes,
    test_purge_by_id_leaves_nothing_but_an_entry_in_the_log,
    test_purge_by_time_takes_the_oldest_first_in_batches,
)
from ..rpc.test_sync import (
    bound,
    test_commit_is_shown_as_committed_and_then_synced,
    test_conflict_is_decided_by_path,
    test_record_that_the_upstream_brought_is_pristine,
)
from ..rpc.test_watch import stub, test_changes_come_as_they_are_listed

__all__ = [
    "bound",
    "changes",
    "films",
    "stub",
    "test_changes_come_as_they_are_listed",
    "test_commit_is_shown_as_committed_and_then_synced",
    "test_commit_writes_a_change_a_creation_and_a_deletion",
    "test_conflict_is_decided_by_path",
    "test_conflict_tells_base_mine_and_theirs_in_error_list_and_preview",
    "test_delete_checks_its_condition",
    "test_discard_answers_what_was_dropped",
    "test_drafts_of_others_follow_a_commit_and_keep_their_base",
    "test_import_replaces_parent_and_position",
    "test_largest_batch_is_applied",
    "test_parent_position_and_delta_go_together",
    "test_partial_batch_tells_of_each_patch_what_became_of_it",
    "test_patch_that_may_create_starts_from_the_empty_object",
    "test_purge_by_id_leaves_nothing_but_an_entry_in_the_log",
    "test_purge_by_time_takes_the_oldest_first_in_batches",
    "test_record_that_the_upstream_brought_is_pristine",
    "test_records_of_other_tenants_and_collections_are_others",
    "test_snapshot_deletes_what_it_does_not_hold",
    "test_stale_expected_version_is_aborted_with_the_current_one",
    "test_undeleted_record_is_as_it_was",
    "test_upsert_counts_what_it_created_changed_and_left_alone",
]
