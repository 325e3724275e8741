"""Syncs over a real channel, by the client, with a worker in this process and a system of record in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import draftline
import pytest
from draftline import RecordState, SyncCollection, SyncPolicy, SyncPreviewKind
from draftline_server.store.statements import Statement, load
from support.polling import BLOCKED, eventually
from support.sync_worlds import UPSTREAM, SyncWorld
from support.tenant_stores import COLLECTION, connected

STORE_STATE = Statement(
    "store_state",
    f"""WITH done AS (
        UPDATE draftline.record SET acked_version = version
        WHERE tenant_id = $1 AND collection = '{COLLECTION}' AND record_id = $2 AND $3 = 'IDLE')
    INSERT INTO draftline.sync_record (tenant_id, collection, record_id, state, conflicts, due_since)
    VALUES ($1, '{COLLECTION}', $2, $3, CASE $3 WHEN 'HELD' THEN '[{{"kind": "VALUE"}}]' ELSE '[]' END::jsonb,
        CASE $3 WHEN 'IDLE' THEN NULL WHEN 'DUE' THEN timestamptz '2026-11-20Z' ELSE timestamptz '2026-11-21Z' END)""",
    ("tenant_id", "record_id", "state"),
)


class Bound:
    """A client of a tenant whose collection is bound, and what its worker does."""

    def __init__(self, client: draftline.AsyncClient, world: SyncWorld) -> None:
        self.client = client
        self.world = world

    async def state(self, record_id: str) -> Any:
        """Return the record as a list shows it."""
        return await anext(self.client.get_merged(COLLECTION, record_ids=[record_id]))


@pytest.fixture
async def bound(server: Any, tenant_id: str) -> AsyncIterator[Bound]:
    async with (
        connected(server.url) as database,
        draftline.AsyncClient(server.address, tenant_id=tenant_id, user="ada") as client,
    ):
        world = SyncWorld(database, tenant_id)
        await client.put_sync(UPSTREAM, "toy", [COLLECTION])
        yield Bound(client, world)


async def test_commit_is_shown_as_committed_and_then_synced(bound: Bound) -> None:
    """Show COMMITTED at once, SYNCED when the upstream has it, and wait for a commit."""
    await bound.world.pull(snapshot=True)
    await bound.client.save_draft(COLLECTION, "p", create={"n": 1})
    assert (await bound.state("p")).state == RecordState.DRAFT
    committed = await bound.client.commit(COLLECTION, all=True)
    shown = await bound.state("p")
    assert (shown.state, shown.sync.acknowledged_version) == (RecordState.COMMITTED, 0)
    waiting = await bound.client.wait_synced(committed.commit_id, wait_s=0)
    assert (waiting.committed, waiting.synced, waiting.is_settled) == (1, 0, False)
    async with bound.world.working():
        status = await bound.client.wait_synced(committed.commit_id)
    assert (status.committed, status.synced) == (0, 1)
    assert (await bound.state("p")).state == RecordState.SYNCED
    assert [row.document for row in bound.world.system.rows.values()] == [{"n": 1}]


async def test_commit_is_counted_by_the_states_of_its_records(bound: Bound) -> None:
    """Count in the database, because an import or a commit may have written any number of records."""
    states = {"due": "DUE", "sent": "SENDING", "refused": "FAILED", "held": "HELD", "done": "IDLE", "unmarked": None}
    edits = [draftline.DraftEdit(each, create={"n": 1}) for each in states]
    await bound.client.save_drafts(COLLECTION, edits)
    committed = await bound.client.commit(COLLECTION, all=True)
    tenant_id, database = bound.world.tenant_id, bound.world.database
    for record_id, state in states.items():
        if state is not None:
            await database.fetch(STORE_STATE, {"tenant_id": tenant_id, "record_id": record_id, "state": state})
    status = await bound.client.get_sync_status(commit_id=committed.commit_id)
    assert (status.committed, status.syncing, status.failed, status.conflicts, status.synced) == (2, 1, 1, 1, 1)
    assert status.due_since == datetime(2026, 11, 20, tzinfo=UTC)
    values = {"tenant_id": tenant_id, "commit_id": committed.commit_id}
    assert len(await database.fetch(load("sync_records")["count_commit"], values)) == 1


async def test_record_that_the_upstream_brought_is_pristine(bound: Bound) -> None:
    """Show a pulled record as PRISTINE, with its source in the change log."""
    bound.world.system.insert({"n": 5}, "r")
    await bound.world.pull(snapshot=True)
    shown = await bound.state("r")
    assert (shown.state, shown.content) == (RecordState.PRISTINE, {"n": 5})
    change = await anext(bound.client.changes(COLLECTION, "r"))
    assert (change.source, change.user_id) == ("sync_pull", f"sync:{UPSTREAM}")


async def test_refused_record_is_an_error_with_a_reason_and_the_others_go_on(bound: Bound) -> None:
    """Send a batch of which the upstream refuses one record: the others are sent, and that one is not repeated."""
    await bound.world.pull(snapshot=True)
    system = bound.world.system
    system.refused_words, system.refuses_batches = ("bad",), True
    for index in range(9):
        await bound.client.create_content(COLLECTION, {"name": "bad" if index == 4 else "good"}, record_id=f"p{index}")
    await bound.world.push()
    sent = system.requests
    await bound.world.push()
    assert system.requests == sent
    failed = [each async for each in bound.client.list_sync_records(COLLECTION, state="sync_error")]
    reasons = [(each.record_id, each.sync.reason, each.sync.field) for each in failed]
    assert reasons == [("p4", "INVALID_VALUE", "/name")]
    assert (await bound.state("p4")).sync.message
    status = await bound.client.get_sync_status(UPSTREAM)
    assert (status.failed, status.committed) == (1, 0)
    assert len(system.live()) == 8
    system.refused_words = ()
    assert await bound.client.retry_sync(COLLECTION, all=True) == 1
    await bound.world.push()
    assert len(system.live()) == 9
    events = [each async for each in bound.client.list_sync_events(UPSTREAM)]
    assert [(each.kind, each.record_id) for each in events] == [("REFUSED", "p4")]


async def conflicting(bound: Bound) -> None:
    """Make a record whose paths a, b and c were changed on both sides."""
    bound.world.system.insert({"a": 0, "b": 0, "c": 0, "d": 0}, "r")
    await bound.world.pull(snapshot=True)
    await bound.client.patch_content(COLLECTION, "r", {"a": 1, "b": 1, "c": 1, "d": 1})
    bound.world.system.edit("r", a=2, b=2, c=2)
    await bound.world.pull()


async def test_conflict_is_decided_by_path(bound: Bound) -> None:
    """Hold a conflict without losing either side, and send what a person decides."""
    await conflicting(bound)
    shown = await bound.state("r")
    assert (shown.state, shown.sync.reason) == (RecordState.SYNC_ERROR, "CONFLICT")
    assert [(each.path, each.base, each.mine, each.theirs) for each in shown.sync.conflicts] == [
        (path, 0, 1, 2) for path in ("/a", "/b", "/c")
    ]
    await bound.world.push()
    assert bound.world.system.live()["r"] == {"a": 2, "b": 2, "c": 2, "d": 0}
    assert await bound.client.resolve_sync(COLLECTION, "r", theirs=["/b"]) == 2
    assert await bound.client.resolve_sync(COLLECTION, "r", mine=["/a"], values={"/c": 0}, change_reason="agreed") == 0
    assert (await bound.state("r")).content == {"a": 1, "b": 2, "c": 0, "d": 1}
    change = await anext(bound.client.changes(COLLECTION, "r"))
    assert (change.source, change.user_id, change.change_reason) == ("sync_resolve", "ada", "agreed")
    await bound.world.push()
    assert bound.world.system.live()["r"] == {"a": 1, "b": 2, "c": 0, "d": 1}
    assert (await bound.state("r")).state == RecordState.SYNCED


async def test_decision_with_an_id_is_made_once(bound: Bound) -> None:
    """Answer a repeated decision as before, and refuse one without a conflict."""
    await conflicting(bound)
    request_id = "0195f6f3-0000-7000-8000-000000000001"
    for _ in range(2):
        assert await bound.client.resolve_sync(COLLECTION, "r", theirs=["/a"], request_id=request_id) == 2
    with pytest.raises(draftline.DraftlineError) as caught:
        await bound.client.resolve_sync(COLLECTION, "r", theirs=["/a"])
    assert caught.value.reason == "SYNC_STATE_MISMATCH"
    with pytest.raises(draftline.VersionMismatchError):
        await bound.client.resolve_sync(COLLECTION, "r", theirs=["/b"], expected_version=1)


@pytest.mark.parametrize("side", ["mine", "theirs"])
async def test_deleted_record_is_decided_as_a_whole(bound: Bound, side: str) -> None:
    """Create a record anew that the upstream has deleted and a person keeps, or delete it here."""
    bound.world.system.insert({"a": 0}, "r")
    await bound.world.pull(snapshot=True)
    await bound.client.patch_content(COLLECTION, "r", {"a": 1})
    bound.world.system.remove("r")
    await bound.world.pull()
    assert (await bound.state("r")).state == RecordState.SYNC_ERROR
    assert await bound.client.resolve_sync(COLLECTION, "r", **{side: [""]}) == 0
    await bound.world.push()
    assert list(bound.world.system.live().values()) == ([{"a": 1}] if side == "mine" else [])


async def test_import_into_a_bound_collection_is_refused(bound: Bound) -> None:
    """Refuse an import, which would overwrite what is not sent yet, and a change log without values."""
    with pytest.raises(draftline.DraftlineError) as caught:
        await bound.client.import_content(COLLECTION, [("p", {"n": 1})])
    assert caught.value.reason == "COLLECTION_BOUND"
    with pytest.raises(draftline.DraftlineError) as caught:
        await bound.client.put_collection(COLLECTION, history="paths")
    assert caught.value.reason == "COLLECTION_BOUND"


async def test_sync_is_read_replaced_paused_and_released(bound: Bound) -> None:
    """Change a sync by version, pause it by direction, and release its collection."""
    client = bound.client
    policies = SyncCollection(COLLECTION, policy=SyncPolicy.LOCAL_WINS, rules={"/a/*": "upstream_wins"})
    assert (await client.put_sync(UPSTREAM, "toy", [policies], expected_version=1)).version == 2
    with pytest.raises(draftline.VersionMismatchError):
        await client.put_sync(UPSTREAM, "toy", [policies], expected_version=1)
    assert (await client.get_sync(UPSTREAM)).collections == (policies,)
    assert not (await client.get_sync(UPSTREAM)).batch_by_commit
    assert (await client.put_sync(UPSTREAM, "toy", [policies], batch_by_commit=True)).batch_by_commit
    assert (await client.get_sync(UPSTREAM)).batch_by_commit
    with pytest.raises(draftline.DraftlineError) as caught:
        await client.put_sync("other", "toy", [COLLECTION])
    assert caught.value.reason == "COLLECTION_BOUND"
    paused = await client.pause_sync(UPSTREAM, push=True)
    assert (paused.push_paused, paused.pull_paused) == (True, False)
    resumed = await client.resume_sync(UPSTREAM)
    assert (resumed.push_paused, resumed.pull_paused) == (False, False)
    await client.run_sync(UPSTREAM, "snapshot", allow_deletions=3)
    assert [each.upstream async for each in client.list_syncs()] == [UPSTREAM]
    await client.put_sync(UPSTREAM, "toy", [])
    await client.put_sync("other", "toy", [COLLECTION])
    with pytest.raises(draftline.NotFoundError):
        await client.get_sync("missing")


async def test_preview_of_a_push_counts_its_records_and_that_of_a_pull_is_refused(bound: Bound) -> None:
    """Return counts and examples, send nothing, and name the field for other runs and unknown syncs."""
    await bound.client.create_content(COLLECTION, {"n": 1}, record_id="p")
    (preview,) = await bound.client.run_sync(UPSTREAM, "push", validate_only=True)
    assert (preview.collection, preview.created, preview.updated, preview.deleted) == (COLLECTION, 1, 0, 0)
    assert [(each.record_id, each.kind) for each in preview.examples] == [("p", SyncPreviewKind.CREATE)]
    assert (await bound.world.states(), bound.world.system.requests) == ({}, 0)
    assert await bound.client.run_sync(UPSTREAM, "push") == []
    for run in ("changes", "snapshot"):
        with pytest.raises(draftline.InvalidArgumentError, match="validate_only"):
            await bound.client.run_sync(UPSTREAM, run, validate_only=True)
    with pytest.raises(draftline.NotFoundError):
        await bound.client.run_sync("missing", "push", validate_only=True)


async def test_paused_sync_sends_nothing(bound: Bound) -> None:
    """Keep what is written while sending is paused, and send it afterwards."""
    await bound.client.pause_sync(UPSTREAM, push=True)
    async with bound.world.working():
        await bound.client.create_content(COLLECTION, {"n": 1}, record_id="p")
        await asyncio.sleep(0.3)
        assert not bound.world.system.live()
        await bound.client.resume_sync(UPSTREAM)
        for _ in range(100):
            if bound.world.system.live():
                break
            await asyncio.sleep(0.05)
    assert list(bound.world.system.live().values()) == [{"n": 1}]


async def test_linked_record_is_read_and_not_created_again(bound: Bound) -> None:
    """Link a record to one of the upstream: equal values settle, and nothing is doubled."""
    await bound.world.pull(snapshot=True)
    await bound.client.create_content(COLLECTION, {"n": 1}, record_id="p")
    bound.world.system.insert({"n": 1}, "r")
    await bound.client.link_record(COLLECTION, "p", "r")
    with pytest.raises(draftline.DraftlineError) as caught:
        await bound.client.link_record(COLLECTION, "p", "q")
    assert caught.value.reason == "SYNC_STATE_MISMATCH"
    await bound.world.push()
    assert list(bound.world.system.live()) == ["r"]
    assert (await bound.state("p")).state in (RecordState.SYNCED, RecordState.PRISTINE)


@pytest.mark.parametrize("is_changed", [False, True], ids=["as it was pulled", "changed here"])
async def test_creation_whose_response_was_lost_is_linked_after_a_pull_has_found_it(
    bound: Bound, is_changed: bool
) -> None:
    """Delete the record that a pull created for the remote id, unless it was changed here. Send nothing for that."""
    world, client = bound.world, bound.client
    world.system.capabilities = replace(
        world.system.capabilities, idempotency_keys_s=0, client_reference=False, ordered_versions=False
    )
    world.system.honours_keys = world.system.honours_references = False
    await world.pull(snapshot=True)
    await client.create_content(COLLECTION, {"n": 1}, record_id="p")
    world.system.faults.lost_after = 1.0
    await world.push()
    assert (await bound.state("p")).sync.reason == "OUTCOME_UNKNOWN"
    world.system.faults.lost_after = 0.0
    await world.pull()
    (remote_id,) = world.system.live()
    assert (await bound.state(remote_id)).state == RecordState.PRISTINE
    if is_changed:
        await client.patch_content(COLLECTION, remote_id, {"n": 2})
        with pytest.raises(draftline.DraftlineError, match="was changed here"):
            await client.link_record(COLLECTION, "p", remote_id)
        return
    await client.link_record(COLLECTION, "p", remote_id)
    await world.push()
    assert world.system.live() == {remote_id: {"n": 1}}
    assert [each.record.record_id async for each in client.get_merged(COLLECTION)] == ["p"]
    assert (await bound.state("p")).state == RecordState.SYNCED
    await world.pull(snapshot=True)
    await client.patch_content(COLLECTION, "p", {"n": 3})
    await world.push()
    assert world.system.live() == {remote_id: {"n": 3}}


async def test_remote_id_that_another_record_gets_at_the_same_moment_is_refused(bound: Bound, server: Any) -> None:
    """Refuse the second of two links to one remote id, after it waited for the first."""
    for record_id in "pq":
        await bound.client.create_content(COLLECTION, {"n": 1}, record_id=record_id)
    link = (
        "INSERT INTO draftline.sync_record (tenant_id, collection, record_id, remote_id, is_there, shadow, state) "
        "VALUES ($1, $2, 'q', 'r', true, '{}', 'IDLE')"
    )
    other = await asyncpg.connect(server.url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(link, bound.world.tenant_id, COLLECTION)
        linking = asyncio.create_task(bound.client.link_record(COLLECTION, "p", "r"))
        await eventually(lambda: other.fetch(BLOCKED))
        await transaction.commit()
        with pytest.raises(draftline.DraftlineError) as caught:
            await linking
    finally:
        await other.close()
    assert caught.value.reason == "SYNC_STATE_MISMATCH"


async def test_refused_sync_forgets_nothing_of_the_collection_of_another(bound: Bound) -> None:
    """Keep states and links when another sync may not bind the collection, or the request is refused."""
    bound.world.system.insert({"n": 5}, "r")
    await bound.world.pull(snapshot=True)
    before = await bound.state("r")
    assert before.state == RecordState.PRISTINE
    assert (known := await bound.world.states())
    with pytest.raises(draftline.DraftlineError) as caught:
        await bound.client.put_sync("another", "toy", [COLLECTION])
    assert caught.value.reason == "COLLECTION_BOUND"
    with pytest.raises(draftline.VersionMismatchError):
        await bound.client.put_sync(UPSTREAM, "toy", [COLLECTION], expected_version=7)
    assert await bound.state("r") == before
    assert await bound.world.states() == known


@pytest.mark.parametrize("call", ["link", "retry", "resolve"])
async def test_decision_about_a_collection_without_a_sync_is_refused(bound: Bound, call: str) -> None:
    """Refuse to link, retry and resolve records of a collection that no sync binds."""
    await bound.client.create_content("unbound", {"n": 1}, record_id="p")
    calls = {
        "link": lambda: bound.client.link_record("unbound", "p", "r"),
        "retry": lambda: bound.client.retry_sync("unbound", all=True),
        "resolve": lambda: bound.client.resolve_sync("unbound", "p", theirs=[""]),
    }
    with pytest.raises(draftline.DraftlineError, match="collection 'unbound' belongs to no sync") as caught:
        await calls[call]()
    assert caught.value.reason == "SYNC_NOT_FOUND"
