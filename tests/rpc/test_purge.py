"""Deleted records, removed for good: what goes with them, what stays, and what comes after."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from draftline.v1 import change_pb2, content_pb2, draft_pb2
from draftline_server.store import purges
from support.change_calls import Changes, paths_of
from support.draft_calls import Drafts, edit
from support.responses import INVALID, TIMEOUT_S, Records, content_of, refused
from support.watch_stream import watching

Sql = Callable[..., list[asyncpg.Record]]

SECRET = "never to be seen again"
FUTURE = datetime.now(UTC) + timedelta(days=1)
TABLES = ("record", "change", "draft", "request")


@pytest.fixture
def changes(grpc_channel: grpc.Channel, tenant_id: str) -> Changes:
    return Changes(grpc_channel, tenant_id)


def stored(sql: Sql, server: Any, tenant_id: str) -> str:
    """All rows of a tenant, bytes as what is readable of them."""
    parts = [
        "SELECT replace(to_jsonb(t)::text, '\\\\x', '')"
        + (" || encode(coalesce(response, ''), 'escape')" if table == "request" else "")
        + f" AS row FROM draftline.{table} AS t WHERE tenant_id = $1"
        for table in TABLES
    ]
    return "\n".join(row["row"] for row in sql(server.url, " UNION ALL ".join(parts), tenant_id))


def gone(records: Records, *record_ids: str, **content: Any) -> None:
    for record_id in record_ids:
        records.create(record_id, {"secret": SECRET, **content})
        records.delete(record_id)


def test_purge_by_id_leaves_nothing_but_an_entry_in_the_log(
    records: Records, changes: Changes, server: Any, sql: Sql
) -> None:
    records.create("m-1", {"secret": SECRET, "n": 1})
    records.patch("m-1", {"n": 2})
    gone(records, "m-2")
    records.delete("m-1")
    purged = records.purge("m-1", change_reason="asked to")
    assert ([*purged.record_ids], purged.draft_count, purged.remaining_count) == (["m-1"], 0, 0)
    assert records.is_missing("m-1")
    (entry,) = changes.of("m-1")
    assert (entry.kind, entry.source) == (change_pb2.CHANGE_KIND_PURGE, change_pb2.CHANGE_SOURCE_PURGE_CONTENT)
    assert (entry.version, entry.change_reason, paths_of(entry)) == (0, "asked to", [])
    assert stored(sql, server, records.tenant_id).count(SECRET) == 1  # of m-2
    assert [each.kind for each in changes.of("m-2")] == [
        change_pb2.CHANGE_KIND_CREATE,
        change_pb2.CHANGE_KIND_DELETE,
    ]


def test_purge_by_time_takes_the_oldest_first_in_batches(records: Records) -> None:
    gone(records, "c", "a", "b")
    records.create("live", {})
    moment = records.get("b", show_deleted=True).delete_time.ToDatetime(UTC)
    first = records.purge(deleted_before=moment, limit=1)
    assert ([*first.record_ids], first.remaining_count) == (["c"], 1)
    second = records.purge(deleted_before=moment)
    assert ([*second.record_ids], second.remaining_count) == (["a"], 0)
    assert [*records.purge(deleted_before=moment).record_ids] == []
    assert [*records.purge(deleted_before=FUTURE).record_ids] == ["b"]
    assert records.content("live") == {}


def test_purge_by_id_and_time_needs_both(records: Records) -> None:
    gone(records, "a", "b")
    moment = records.get("b", show_deleted=True).delete_time.ToDatetime(UTC)
    assert [*records.purge("b", deleted_before=moment).record_ids] == []
    assert [*records.purge("a", "b", "none", deleted_before=moment).record_ids] == ["a"]
    assert records.get("b", show_deleted=True)


def test_live_record_is_never_purged(records: Records) -> None:
    gone(records, "a")
    records.create("b", {})
    refusal = refused(records.stub.PurgeContent, records.purging("a", "b"))
    assert (refusal.code.name, refusal.reason) == ("FAILED_PRECONDITION", "RECORD_LIVE")
    assert refusal.metadata == {"record_id": "b"}
    assert records.get("a", show_deleted=True)
    records.undelete("a")
    assert [*records.purge(deleted_before=FUTURE).record_ids] == []


def test_preview_of_a_purge_tells_what_would_go(records: Records, changes: Changes) -> None:
    gone(records, "a", "b")
    preview = records.purge(deleted_before=FUTURE, limit=1, validate_only=True)
    assert ([*preview.record_ids], preview.remaining_count) == (["a"], 1)
    assert records.get("a", show_deleted=True)
    assert len(changes.of("a")) == 2


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "record_ids"),
        ({"record_ids": ["x"] * 1001}, "record_ids"),
        ({"record_ids": [""]}, "record_ids[0]"),
        ({"record_ids": ["x"], "limit": 1001}, "limit"),
        ({"deleted_before": {"seconds": 10**12}}, "deleted_before"),
        ({"record_ids": ["x"], "request_id": "no"}, "request_id"),
    ],
)
def test_purge_that_breaks_a_rule_names_its_field(records: Records, options: Any, field: str) -> None:
    ids = options.pop("record_ids", [])
    refusal = refused(records.stub.PurgeContent, records.purging(*ids, **options))
    assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "INVALID_FIELD", [field])


def test_drafts_over_a_purged_record_go_and_their_users_are_told(
    records: Records, ada: Drafts, bob: Drafts, grpc_channel: grpc.Channel, server: Any, sql: Sql
) -> None:
    for record_id in ("a", "b", "other"):
        records.create(record_id, {"n": 1})
    ada.change("a", {"secret": SECRET})
    bob.save(edit("a", delete=True), edit("b", {"secret": SECRET}), edit("other", {"n": 2}))
    with watching(
        grpc_channel, records.tenant_id, "ada", collection="films", view=change_pb2.WATCH_VIEW_MERGED
    ) as watcher:
        records.delete("a")
        records.delete("b")
        purged = records.purge("a", "b")
        assert (sorted(purged.record_ids), purged.draft_count) == (["a", "b"], 3)
        while "a" not in {each.record_id for each in watcher.merged(1) if not each.HasField("record")}:
            pass
    assert (ada.drafted(), bob.drafted()) == ([], ["other"])
    assert ada.ids(view=draft_pb2.VIEW_DRAFTS_ONLY) == []
    assert [each.record_id for each in bob.commit(all=True)] == ["other"]
    assert SECRET not in stored(sql, server, records.tenant_id)


def test_draft_that_creates_a_purged_record_anew_stays(records: Records, ada: Drafts) -> None:
    ada.save(edit("a", create={"mine": 1}))
    gone(records, "a")
    assert records.purge("a").draft_count == 0
    (result,) = ada.commit(all=True)
    assert (result.record.version, records.content("a")) == (1, {"mine": 1})


def test_draft_that_brings_a_purged_record_back_goes_with_it(
    records: Records, ada: Drafts, server: Any, sql: Sql
) -> None:
    gone(records, "a")
    ada.save(edit("a", {"n": 1}, allow_deleted=True))
    assert records.purge("a").draft_count == 1
    assert ada.commit(all=True) == []
    assert SECRET not in stored(sql, server, records.tenant_id)


def test_record_that_is_created_after_its_purge_begins_at_version_1(records: Records, changes: Changes) -> None:
    for number in range(3):
        assert records.create("a", {"n": number}).version == 1
        assert records.patch("a", {"more": 1}).record.version == 2
        records.delete("a")
        records.purge("a", change_reason=str(number))
    records.create("a", {"n": "last"})
    records.patch("a", {"n": "changed"})
    log = changes.of("a")
    assert sorted(each.change_reason for each in log if each.kind == change_pb2.CHANGE_KIND_PURGE) == ["0", "1", "2"]
    assert [each.version for each in log] == [0, 0, 0, 1, 2]
    assert paths_of(log[3]) == [("", "absent", {"n": "last"})]
    pages = changes.page(collection="films", record_id="a", page_size=2)
    found = list(pages.changes)
    while pages.next_page_token:
        pages = changes.page(collection="films", record_id="a", page_size=2, page_token=pages.next_page_token)
        found += pages.changes
    assert [each.version for each in found] == [2, 1, 0, 0, 0]
    assert len({each.change_reason for each in found}) == 4
    reverted = changes.revert(("a", 2)).results[0].record
    assert (reverted.version, records.content("a")) == (3, {"n": "last"})
    assert changes.refused("RevertChange", changes.reverting(("a", 5))).reason == "CHANGE_NOT_FOUND"


def test_watcher_sees_deletion_and_new_creation_in_their_order(records: Records, grpc_channel: grpc.Channel) -> None:
    with watching(grpc_channel, records.tenant_id) as watcher:
        records.create("a", {"n": 1})
        records.delete("a")
        assert watcher.versions(2) == [("a", 1), ("a", 2)]
        records.purge("a")
        records.create("a", {"n": 2})
        (created,) = watcher.changes(1)
        assert (created.version, created.kind) == (1, change_pb2.CHANGE_KIND_CREATE)
        assert paths_of(created) == [("", "absent", {"n": 2})]


async def test_purge_waits_for_transactions_that_began_before_the_deletion(
    server: Any, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.create("a", {"n": 1})
    older = await asyncpg.connect(server.url)
    running = older.transaction()
    await running.start()
    try:
        await older.execute("SELECT pg_current_xact_id()")
        records.delete("a")
        with monkeypatch.context() as patience:
            patience.setattr(purges, "SETTLE_S", 0.2)
            refusal = refused(records.stub.PurgeContent, records.purging("a"))
            assert (refusal.code.name, refusal.reason) == ("ABORTED", "CONTENTION")
            assert records.get("a", show_deleted=True)
            by_time = records.purge(deleted_before=FUTURE)
        assert ([*by_time.record_ids], by_time.remaining_count) == ([], 1)
    finally:
        await running.rollback()
        await older.close()
    assert [*records.purge("a").record_ids] == ["a"]


def answered(records: Records, ada: Drafts, changes: Changes) -> list[tuple[Any, Any, tuple[Any, ...]]]:
    """Requests with an id whose kept answers hold the content of `a`: call, request, metadata."""

    def once() -> str:
        return str(uuid.uuid4())

    records.create("z", {})
    creation = records.creation("a", {"secret": SECRET}, request_id=once())
    batch = content_pb2.BatchPatchContentRequest(
        tenant_id=records.tenant_id,
        requests=[records.patching("z", {"z": 1}), records.patching("a", {"n": 1})],
        request_id=once(),
    )
    saving = ada.saving(edit("a", {"mine": SECRET}), request_id=once())
    committing = ada.committing(all=True, conflict_policy=draft_pb2.CONFLICT_POLICY_KEEP_THEIRS, request_id=once())
    reverting = changes.reverting(("a", 2), include_content=True, request_id=once())
    calls = [
        (records.stub.CreateContent, creation, ()),
        (records.stub.BatchPatchContent, batch, ()),
        (ada.stub.SaveDraft, saving, ada.metadata),
        (ada.stub.Commit, committing, ada.metadata),
        (changes.stub.RevertChange, reverting, changes.metadata),
    ]
    for call, request, metadata in calls:
        if request is committing:
            records.patch("a", {"mine": f"{SECRET} theirs"})
        call(request, timeout=TIMEOUT_S, metadata=metadata)
    return calls


def test_kept_answers_with_content_of_a_purged_record_are_emptied(
    records: Records, ada: Drafts, changes: Changes, server: Any, sql: Sql
) -> None:
    calls = answered(records, ada, changes)
    kept = records.patching("z", {"kept": 1}, request_id=str(uuid.uuid4()))
    answer = records.stub.PatchContent(kept, timeout=TIMEOUT_S)
    records.delete("a")
    assert SECRET in stored(sql, server, records.tenant_id)
    records.purge("a")
    assert SECRET not in stored(sql, server, records.tenant_id)
    for call, request, metadata in calls:
        refusal = refused(call, request, metadata=metadata)
        assert (refusal.code.name, refusal.reason) == ("NOT_FOUND", "RECORD_NOT_FOUND")
        assert "was purged" in refusal.message
    assert records.is_missing("a")
    assert records.stub.PatchContent(kept, timeout=TIMEOUT_S) == answer


@pytest.mark.parametrize("record_id", ["x" * 128, "é" * 128, "🎬" * 128])
def test_answers_of_records_with_long_ids_are_found(records: Records, server: Any, sql: Sql, record_id: str) -> None:
    batch = content_pb2.BatchPatchContentRequest(
        tenant_id=records.tenant_id,
        requests=[records.patching(record_id, {"secret": SECRET}, allow_missing=True)],
        request_id=str(uuid.uuid4()),
    )
    records.stub.BatchPatchContent(batch, timeout=TIMEOUT_S)
    records.delete(record_id)
    assert [*records.purge(record_id).record_ids] == [record_id]
    assert SECRET not in stored(sql, server, records.tenant_id)


def test_purge_reaches_neither_other_collections_nor_other_tenants(records: Records, grpc_stub: Any) -> None:
    others = [Records(grpc_stub, records.tenant_id, "other"), Records(grpc_stub, f"{records.tenant_id}-2")]
    for each in (records, *others):
        gone(each, "a")
    records.purge("a", deleted_before=FUTURE)
    assert records.is_missing("a")
    assert [content_of(each.get("a", show_deleted=True)) for each in others] == [{"secret": SECRET}] * 2


def test_purged_record_leaves_the_rest_of_its_commit_to_be_reverted(records: Records, changes: Changes) -> None:
    records.create("a", {"n": 1})
    records.create("b", {"n": 1})
    batch = content_pb2.BatchPatchContentRequest(
        tenant_id=records.tenant_id, requests=[records.patching("a", {"n": 2}), records.patching("b", {"n": 2})]
    )
    commit_id = records.stub.BatchPatchContent(batch, timeout=TIMEOUT_S).commit_id
    records.delete("a")
    records.purge("a")
    assert [each.record_id for each in changes.revert(commit_id).results] == ["b"]
    assert records.content("b") == {"n": 1}


def test_purge_happens_once_for_its_id(records: Records) -> None:
    gone(records, "a")
    request = records.purging("a", request_id=str(uuid.uuid4()))
    first = records.stub.PurgeContent(request, timeout=TIMEOUT_S)
    records.create("a", {})
    assert records.stub.PurgeContent(request, timeout=TIMEOUT_S) == first
    assert records.get("a").version == 1
