"""The counts of a sync's records include those that no worker has found yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.records import NewRecord
from draftline_server.domain.sync import BoundCollection, SyncSpec
from draftline_server.domain.sync_records import CollectionCounts
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.store.sync import overview, states
from draftline_server.store.sync.attempts import LOG
from draftline_server.store.sync.states import SyncStates
from support.polling import eventually
from support.query_plans import explained, nodes, rows_read
from support.sync_worlds import UPSTREAM, SyncWorld
from support.tenant_stores import COLLECTION, change, connected

from .test_feed import opened, patched_in
from .test_order_entries import purge

OTHER = "albums"  # another collection


@pytest.fixture
def world(database: Database, tenant_id: str) -> SyncWorld:
    return SyncWorld(database, tenant_id)


async def all_counts(world: SyncWorld) -> Sequence[CollectionCounts]:
    return await SyncStates(world.database).counts(world.tenant_id, UPSTREAM)


async def counts(world: SyncWorld) -> CollectionCounts:
    (found,) = await all_counts(world)
    return found


async def bind_two(world: SyncWorld, **options: Any) -> None:
    """Bind the collection and another one."""
    spec = SyncSpec(UPSTREAM, "toy", (world.bound, BoundCollection(OTHER)), **options)
    await world.configs.prepare(world.tenant_id, spec)
    await world.database.transact(lambda each: world.configs.put(each, world.tenant_id, spec, None))


async def test_records_that_no_worker_has_read_wait(world: SyncWorld) -> None:
    """Count each record once that is to be sent, whether or not a worker has marked it due."""
    await world.bind()
    assert ((await counts(world)).committed, (await counts(world)).oldest) == (0, None)
    for name in "abc":
        await world.create(name, {"n": 1})
    await world.patch("a", {"n": 2})
    await world.save("ada", change("b", {"n": 3}))  # a draft is not sent
    found = await counts(world)
    assert (found.committed, found.syncing, found.oldest is not None) == (3, 0, True)
    await world.worker._attempts.mark(COLLECTION, ["a", "b"])
    assert (await counts(world)).committed == 3
    await world.push()
    assert ((await counts(world)).committed, (await counts(world)).oldest) == (0, None)
    remote_id = next(iter(world.system.live()))
    world.system.edit(remote_id, n=4)
    await world.pull()
    assert (await counts(world)).committed == 0  # what a pull changes is not sent back
    await world.delete("a")
    await world.delete("b")
    await purge(world, "b")
    assert (await counts(world)).committed == 2
    await world.push()
    assert (await counts(world)).committed == 0


async def test_records_of_a_sync_that_does_not_push_do_not_wait(world: SyncWorld) -> None:
    await world.bind(push=False)
    await world.create("a", {"n": 1})
    assert (await counts(world)).committed == 0


async def test_a_call_counts_some_of_the_changes_that_no_worker_has_read(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Count those of each collection that has any."""
    monkeypatch.setattr(states, "MAX_UNREAD", 3)
    await bind_two(world)
    for number in range(5):
        await world.create(f"r{number}", {})
    assert [each.committed for each in await all_counts(world)] == [0, 3]
    new = NewRecord(OTHER, "a", "{}")
    await world.content.create(world.actor("sys"), new, change_reason="", validate_only=False)
    assert [each.committed for each in await all_counts(world)] == [1, 1]


# Changes by a pull: a first snapshot of two collections, with names of 5 and 6 characters.
PULLED = """
    INSERT INTO draftline.change (tenant_id, log_xact, change_id, collection, record_id, version, kind, source, edit,
        user_id, session_id, change_reason, created_at)
    SELECT $1, n, 2 * n + length(c) - 5, c, n::text, 1, 'CREATE', 'SYNC_PULL', '{}', 'sync:pems', '', '', now()
    FROM generate_series(1, 20000) AS n, unnest($2::text[]) AS c
"""


@pytest.mark.parametrize("known", ["SELECT 1", "VACUUM ANALYZE draftline.change"], ids=["new", "analyzed"])
@pytest.mark.parametrize(("push", "read"), [(True, 152), (False, 0)])
async def test_a_call_reads_few_of_the_changes_that_no_worker_has_read(
    database_url: str, connection: asyncpg.Connection, push: bool, read: int, known: str
) -> None:
    """Read the limit and one of each collection, also where only pulls wrote; nothing if changes are not sent."""
    async with connected(database_url, size=1) as database:
        await bind_two(SyncWorld(database, "acme"), push=push)
    await connection.execute(PULLED, "acme", [COLLECTION, OTHER])
    await connection.execute(known)
    await connection.execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off")
    values = {"tenant_id": "acme", "upstream": UPSTREAM, "limit": 150}
    plan, rows = await explained(connection, states.SQL["count_states"], values)
    assert [row["unread"] for row in rows] == [0, 0]
    scans = [node for node in nodes(plan) if node.get("Relation Name", "").startswith("change")]
    assert scans
    assert sum(map(rows_read, scans)) == read


async def test_metrics_read_no_changes_of_a_sync_that_does_not_push(
    database_url: str, connection: asyncpg.Connection
) -> None:
    async with connected(database_url, size=1) as database:
        await bind_two(SyncWorld(database, "acme"), push=False)
    await connection.execute(PULLED, "acme", [COLLECTION, OTHER])
    await connection.execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off")
    plan, rows = await explained(connection, overview.SQL["sync_overview"], {"now": datetime.now(UTC)})
    assert [row["lag_s"] for row in rows if row["tenant_id"] == "acme"] == [None]
    scans = [node for node in nodes(plan) if node.get("Relation Name", "").startswith("change")]
    assert scans
    assert sum(map(rows_read, scans)) == 0


async def test_records_wait_while_sending_is_paused(world: SyncWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count them also if pulls go on and make more changes than a call reads."""
    monkeypatch.setattr(states, "MAX_UNREAD", 2)
    await world.bind()
    await world.database.transact(
        lambda each: world.configs.pause(each, world.tenant_id, UPSTREAM, push=True, pull=None, resumes=False)
    )
    await world.worker.progress.swept()
    for number in range(3):
        world.system.insert({"n": 1}, f"r{number}")
    await world.pull(snapshot=True)
    await world.create("a", {"n": 1})

    async def one_waits() -> bool:
        return (await counts(world)).committed == 1

    async with world.working():
        await eventually(one_waits)
    assert len(world.system.live()) == 3


async def find_due(world: SyncWorld) -> tuple[int, int]:
    """Read the log as a worker does, and return its position."""
    work = await world.worker.progress.work()
    assert work is not None
    await world.worker._find_due(work)
    work = await world.worker.progress.work()
    assert work is not None
    return work.position


async def test_a_worker_does_not_read_the_changes_of_pulls_again(world: SyncWorld) -> None:
    """Move to the end of the log, unless nothing was written there."""
    await world.bind()
    world.system.insert({"n": 1}, "a")
    await world.pull(snapshot=True)

    async def at_end() -> tuple[int, int] | None:
        xact, change_id = await find_due(world)
        values: dict[str, object] = {"tenant_id": world.tenant_id, "log_xact": xact, "change_id": change_id}
        (ahead,) = await world.database.fetch(LOG["log_ahead"], values)
        return None if ahead["has_entries"] else (xact, change_id)

    position = await eventually(at_end)  # transactions of other databases count as older ones
    assert await find_due(world) == position


async def test_a_worker_finds_changes_of_transactions_that_commit_late(world: SyncWorld) -> None:
    await world.bind()
    await world.create("a", {"n": 1})
    await world.push()
    older, _ = await opened(world.database.url)
    await patched_in(older, world, "a", n=2)
    world.system.insert({"n": 1}, "b")
    await world.pull(snapshot=True)
    await find_due(world)
    await older.execute("COMMIT")
    await older.close()
    assert (await world.state("a"))["state"] == "IDLE"
    await find_due(world)
    assert (await world.state("a"))["state"] == "DUE"


async def test_a_worker_finds_what_is_committed_while_it_reads(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.bind()
    await world.worker.progress.swept()
    await world.create("a", {"n": 1})
    fetch, late = world.database.fetch, ["b"]

    async def then_committed(statement: Statement, values: dict[str, object], *, idempotent: bool = False) -> Any:
        rows = await fetch(statement, values, idempotent=idempotent)
        if statement.name == "changed_records" and late:
            await world.create(late.pop(), {"n": 1})
        return rows

    monkeypatch.setattr(world.database, "fetch", then_committed)
    await find_due(world)
    assert set(await world.states()) == {"a"}
    await find_due(world)
    assert set(await world.states()) == {"a", "b"}
