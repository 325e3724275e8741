"""Entries, tallies and references on partitioned tables, against the oracles of the plain ones."""

from __future__ import annotations

import asyncpg
from draftline_server.partitions.mode import Mode, read_mode
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement

from ..store.test_merged_entries import (
    test_list_goes_on_when_its_order_is_dropped_between_pages,
    test_tokens_are_the_same_with_and_without_entries,
)
from ..store.test_order_entries import (
    test_build_that_was_interrupted_goes_on_where_it_ended,
    test_build_waits_for_writes_that_do_not_know_the_order,
    test_repaired_draft_has_the_entries_of_its_new_merge,
)
from ..store.test_references import test_referring_records_are_found_by_the_index, test_write_is_checked_as_a_whole
from ..store.test_reverts import test_update_of_what_was_deleted_since_is_a_conflict
from ..store.test_statistics import test_drafts_of_other_users_never_count
from ..store.test_tallies import (
    test_build_waits_for_writes_that_do_not_know_the_statistic,
    test_discard_waits_for_a_write_of_its_record,
    test_fold_leaves_one_row_for_each_group_with_records,
    test_wrong_tally_is_found_and_repaired,
)

__all__ = [
    "test_build_that_was_interrupted_goes_on_where_it_ended",
    "test_build_waits_for_writes_that_do_not_know_the_order",
    "test_build_waits_for_writes_that_do_not_know_the_statistic",
    "test_discard_waits_for_a_write_of_its_record",
    "test_drafts_of_other_users_never_count",
    "test_fold_leaves_one_row_for_each_group_with_records",
    "test_list_goes_on_when_its_order_is_dropped_between_pages",
    "test_referring_records_are_found_by_the_index",
    "test_repaired_draft_has_the_entries_of_its_new_merge",
    "test_tokens_are_the_same_with_and_without_entries",
    "test_update_of_what_was_deleted_since_is_a_conflict",
    "test_write_is_checked_as_a_whole",
    "test_wrong_tally_is_found_and_repaired",
]


async def test_these_databases_are_partitioned(connection: asyncpg.Connection, database: Database) -> None:
    assert await read_mode(connection) is Mode.PARTITIONED
    kind = Statement("kind", "SELECT relkind FROM pg_class WHERE oid = CAST('draftline.record' AS regclass)", ())
    assert [row["relkind"] for row in await database.fetch(kind, {})] == [b"p"]
