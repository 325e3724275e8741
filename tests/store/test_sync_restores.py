"""A database that was restored from a backup, or copied: the sync stops, and then begins with a snapshot."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from draftline_server.domain.errors import DatabaseUnavailableError
from draftline_server.domain.sync import Policies, Policy
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.sync.push import Push
from draftline_server.sync.worker import LOST_MARKS
from support.servers import run_sql
from support.sync_worlds import UPSTREAM, SyncWorld, until
from support.tenant_stores import COLLECTION, connected
from support.upstream_toy import Row

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


async def restored(world: SyncWorld) -> None:
    """Let the system go back to a backup, have the sync stopped by that, and resume it."""
    world.system.rows = deepcopy(world.backup)
    await request_snapshot(world)
    await world.new_worker().run()
    assert await reason(world) == "WENT_BACK"
    await resume(world)


async def request_snapshot(world: SyncWorld) -> None:
    async with world.database.transaction() as transaction:
        await world.configs.request(transaction, world.tenant_id, UPSTREAM, "SNAPSHOT", 0)


async def resume(world: SyncWorld) -> None:
    async with world.database.transaction() as transaction:
        await world.configs.pause(transaction, world.tenant_id, UPSTREAM, push=None, pull=None, resumes=True)


class RestoredWorld(SyncWorld):
    """A sync whose system can go back to `backup`."""

    backup: dict[str, Row]


NAMES = ("changed", "equal", "pending", "later", "lost", "removed")


@pytest.fixture
async def backed_up(database: Database, tenant_id: str) -> RestoredWorld:
    """Records that were changed there in several ways after a backup of the system."""
    world = RestoredWorld(database, tenant_id)
    await world.bind()
    for name in NAMES:
        world.system.insert({"n": 1}, name)
    world.backup = deepcopy(world.system.rows)
    for name in ("changed", "later"):
        world.system.edit(name, n=2)
    world.system.edit("equal", n=2)
    world.system.edit("equal", n=1)
    await world.pull(snapshot=True)
    del world.backup["lost"]
    world.backup["later"].version, world.backup["later"].document = 2, {"n": 3}  # changed there again after the restore
    await world.patch("pending", {"n": 4})
    return world


async def test_resumed_sync_of_a_restored_system_reports_what_differs(backed_up: RestoredWorld) -> None:
    """Continue with the older versions: equal values settle, changes here are sent, and all else is in conflict."""
    world = backed_up
    await restored(world)

    async def is_read() -> bool:
        states = await world.states()
        return [states[name]["state"] for name in NAMES] == ["HELD", "IDLE", "IDLE", "HELD", "HELD", "IDLE"]

    async with world.working():
        await until(is_read)
        assert not await reason(world)
        conflicts = {
            name: [(each["kind"], each.get("mine"), each.get("theirs")) for each in json.loads(row["conflict_text"])]
            for name, row in (await world.states()).items()
            if row["state"] == "HELD"
        }
        assert conflicts == {
            "changed": [("VALUE", 2, 1)], "later": [("VALUE", 2, 3)], "lost": [("DELETED", {"n": 1}, None)]
        }  # fmt: skip
        await until(lambda: _holds(world, "pending", {"n": 4}))
        assert [await world.value(name) for name in NAMES] == [
            {"n": 2},
            {"n": 1},
            {"n": 4},
            {"n": 2},
            {"n": 1},
            {"n": 1},
        ]
        world.system.remove("removed")  # from then on, a deletion is a deletion
        await request_snapshot(world)
        await until(lambda: _is_deleted(world, "removed"))


async def test_restored_system_gets_the_values_here_if_these_win(backed_up: RestoredWorld) -> None:
    world = backed_up
    await world.bind(replace(world.bound, policies=Policies(Policy.LOCAL_WINS)))
    await restored(world)
    async with world.working():
        for name in ("changed", "later"):
            await until(lambda name=name: _holds(world, name, {"n": 2}))
        await until(lambda: _is_referred_to(world, "lost"))
    assert not await reason(world)


async def test_system_that_goes_back_again_stops_the_sync_again(backed_up: RestoredWorld) -> None:
    world = backed_up
    await restored(world)

    async def is_read() -> bool:
        return bool((await world.state("changed"))["state"] == "HELD")

    async with world.working():
        await until(is_read)
        world.backup = deepcopy(world.system.rows)
        world.system.edit("equal", n=8)
        await request_snapshot(world)
        await until(lambda: _is_here(world, "equal", {"n": 8}))
    await restored(world)


async def test_write_that_is_out_during_a_restore_does_not_stop_the_sync_again(backed_up: RestoredWorld) -> None:
    """Repeat the write, and compare what the system holds then."""
    world = backed_up
    await world.patch("changed", {"n": 5})
    world.system.faults.lost_after = 1.0
    await world.worker._attempts.sweep(COLLECTION)
    push = Push(world.database, world.worker._attempts, world.worker._merges, world.link())
    await push.push(world.bound, world.system.capabilities)
    assert (await world.state("changed"))["state"] == "SENDING"
    world.system.faults.lost_after = 0.0
    world.system.applied = {}
    await restored(world)

    async def is_settled() -> bool:
        return (await world.state("changed"))["state"] in ("HELD", "IDLE")

    async with world.working():
        await until(is_settled)
    assert not await reason(world)
    assert await world.value("changed") == {"n": 5}


async def _holds(world: SyncWorld, remote_id: str, document: dict[str, Any]) -> bool:
    return world.system.live().get(remote_id) == document


async def _is_here(world: SyncWorld, record_id: str, content: dict[str, Any]) -> bool:
    return await world.value(record_id) == content


async def _is_deleted(world: SyncWorld, record_id: str) -> bool:
    return await world.value(record_id) is None


async def _is_referred_to(world: SyncWorld, record_id: str) -> bool:
    return any(row.reference == record_id and not row.deleted for row in world.system.rows.values())
