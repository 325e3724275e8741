"""A database that was restored from a backup, or copied: the sync stops, and then begins with a snapshot."""

from __future__ import annotations

import pytest
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.sync.worker import LOST_MARKS
from support.sync_worlds import UPSTREAM, SyncWorld, until

MOVED = Statement(
    "moved",
    """UPDATE draftline.sync_upstream SET config = config || '{"database": "another one"}' WHERE tenant_id = $1""",
    ("tenant_id",),
)


@pytest.fixture
async def world(database: Database, tenant_id: str) -> SyncWorld:
    opened = SyncWorld(database, tenant_id)
    await opened.bind()
    opened.system.insert({"n": 1}, "r")

    async def linked() -> bool:
        return "r" in await opened.states()

    async with opened.working():
        await until(linked)
    return opened


async def reason(world: SyncWorld) -> str:
    return (await world.configs.get(world.tenant_id, UPSTREAM)).suspended_reason


async def test_copy_of_a_database_sends_nothing(world: SyncWorld) -> None:
    """Suspend the sync before it sends, and after a resume merge a snapshot before anything is sent."""
    await world.patch("r", {"n": 2})
    world.system.edit("r", n=3)
    await world.database.fetch(MOVED, {"tenant_id": world.tenant_id})
    requests = world.system.requests
    await world.new_worker().run()  # ends by itself
    assert (await reason(world), world.system.requests) == ("RESTORED", requests)
    async with world.database.transaction() as transaction:
        await world.configs.pause(transaction, world.tenant_id, UPSTREAM, push=None, pull=None, resumes=True)

    async def held() -> bool:
        return bool((await world.state("r"))["state"] == "HELD")

    async with world.working():
        await until(held)
    assert not await reason(world)
    assert world.system.live()["r"] == {"n": 3}


async def test_database_that_gives_out_marks_again_stops_the_sync(world: SyncWorld) -> None:
    """Notice a restore under a running process by the marks that it has seen."""
    key = world.tenant_id, UPSTREAM
    world.stores.marks[key] += LOST_MARKS // 2
    async with world.working():
        assert not await reason(world)
    world.stores.marks[key] += 2 * LOST_MARKS
    await world.new_worker().run()
    assert await reason(world) == "RESTORED"
