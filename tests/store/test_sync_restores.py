"""A database that was restored from a backup, or copied: the sync stops, and then begins with a snapshot."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from draftline_server.domain.errors import DatabaseUnavailableError
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.sync.worker import LOST_MARKS
from support.servers import run_sql
from support.sync_worlds import UPSTREAM, SyncWorld, until
from support.tenant_stores import connected

MOVED = Statement(
    "moved",
    """UPDATE draftline.sync_upstream SET config = config || '{"database": "1/1"}' WHERE tenant_id = $1""",
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


async def test_change_of_the_sync_does_not_hide_that_the_database_is_a_copy(world: SyncWorld) -> None:
    await world.database.fetch(MOVED, {"tenant_id": world.tenant_id})
    await world.bind(pull_interval_s=3600.0)
    requests = world.system.requests
    await world.new_worker().run()
    assert (await reason(world), world.system.requests) == ("RESTORED", requests)


async def test_copy_stays_suspended_if_its_first_worker_fails(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The identity of the copy is stored only with the suspension: then the next worker knows it."""
    await world.database.fetch(MOVED, {"tenant_id": world.tenant_id})
    worker = world.new_worker()

    async def unavailable(*_: Any) -> None:
        raise DatabaseUnavailableError("the database is not available")

    monkeypatch.setattr(worker.progress, "suspend", unavailable)
    with pytest.raises(DatabaseUnavailableError):
        await worker.run()
    assert await reason(world) == "RESTORED"


@pytest.fixture
def unprivileged_url(server: Any) -> Iterator[str]:
    """The database as a role that may not read the identity of the server, as some providers have it."""
    role = f"r{uuid.uuid4().hex}"
    run_sql(
        server.url, f"CREATE ROLE {role}", f"GRANT USAGE ON SCHEMA draftline TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA draftline TO {role}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA draftline TO {role}",
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
    )  # fmt: skip
    try:
        yield f"{server.url}{'&' if '?' in server.url else '?'}role={role}"
    finally:
        run_sql(
            server.url, "GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC", f"DROP OWNED BY {role}",
            f"DROP ROLE {role}",
        )  # fmt: skip


async def test_role_that_cannot_identify_the_server_compares_databases(world: SyncWorld, unprivileged_url: str) -> None:
    async with connected(unprivileged_url) as limited:
        progress = SyncWorld(limited, world.tenant_id).worker.progress
        assert await progress.moved_to() == ""
        await world.database.fetch(MOVED, {"tenant_id": world.tenant_id})
        assert (await progress.moved_to()).startswith("/")
