"""Records that are purged while their last write was refused, waits, or has no outcome yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from draftline_server.store.database import Database
from support.sync_worlds import SyncWorld
from support.tenant_stores import COLLECTION

from .test_order_entries import purge


@pytest.fixture
def world(database: Database, tenant_id: str) -> SyncWorld:
    return SyncWorld(database, tenant_id)


async def refused_creation(world: SyncWorld) -> None:
    await world.create("p", {"name": "bad"})
    await world.push()
    assert (await world.state("p"))["state"] == "FAILED"


async def refused_update(world: SyncWorld) -> None:
    await synced(world)
    await world.patch("p", {"name": "bad"})
    await world.push()
    assert (await world.state("p"))["state"] == "FAILED"


async def refused_deletion(world: SyncWorld) -> None:
    await refused_update(world)
    await world.delete("p")
    world.system.refused_words = ("null", "bad")  # a deletion has no contents
    await world.push()
    assert (await world.state("p"))["state"] == "FAILED"
    world.system.refused_words = ("bad",)


async def waiting(world: SyncWorld) -> None:
    await world.create("p", {"name": "good"})


async def synced(world: SyncWorld) -> None:
    await world.create("p", {"name": "good"})
    await world.push()


async def lost_creation(world: SyncWorld) -> None:
    await world.create("p", {"name": "good"})
    world.system.faults.lost_after = 1.0
    await world.push()
    world.system.faults.lost_after = 0.0
    assert (await world.state("p"))["state"] == "SENDING"


async def held(world: SyncWorld) -> None:
    await synced(world)
    (remote_id,) = world.system.live()
    world.system.edit(remote_id, name="theirs")
    await world.patch("p", {"name": "ours"})
    await world.push()
    assert (await world.state("p"))["state"] == "HELD"


@pytest.mark.parametrize(
    "before", [refused_creation, refused_update, refused_deletion, waiting, synced, lost_creation, held]
)
async def test_purged_record_is_deleted_upstream_and_leaves_no_error(
    world: SyncWorld, before: Callable[[SyncWorld], Awaitable[None]]
) -> None:
    """Find it by the comparison of all records, also where the change log was not read."""
    world.system.refused_words = ("bad",)
    await world.bind()
    await before(world)
    if before is not refused_deletion:
        await world.delete("p")
    await purge(world, "p")
    await world.worker._attempts.hurry(COLLECTION)
    await world.push()
    assert world.system.live() == {}
    assert {each["state"] for each in (await world.states()).values()} <= {"IDLE"}
    await world.create("p", {"name": "again"})
    await world.push()
    assert list(world.system.live().values()) == [{"name": "again"}]
