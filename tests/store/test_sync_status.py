"""The counts of a sync's records include those that no worker has found yet."""

from __future__ import annotations

import pytest
from draftline_server.domain.sync_records import CollectionCounts
from draftline_server.store.database import Database
from draftline_server.store.sync import states
from draftline_server.store.sync.states import SyncStates
from support.sync_worlds import UPSTREAM, SyncWorld
from support.tenant_stores import COLLECTION, change

from .test_order_entries import purge


@pytest.fixture
def world(database: Database, tenant_id: str) -> SyncWorld:
    return SyncWorld(database, tenant_id)


async def counts(world: SyncWorld) -> CollectionCounts:
    (found,) = await SyncStates(world.database).counts(world.tenant_id, UPSTREAM)
    return found


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


async def test_a_call_reads_only_some_of_the_changes_that_no_worker_has_read(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "MAX_UNREAD", 3)
    await world.bind()
    for number in range(5):
        await world.create(f"r{number}", {})
    assert (await counts(world)).committed == 3
