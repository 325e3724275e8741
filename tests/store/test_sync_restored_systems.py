"""A system of record that was restored: the sync stops, and after a resume what differs is in conflict."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from draftline_server.domain.content import Limits
from draftline_server.domain.sync import Policies, Policy
from draftline_server.domain.sync_records import Decision
from draftline_server.store.database import Database
from draftline_server.store.sync.decisions import SyncDecisions
from draftline_server.store.sync.previews import SyncPreviews
from support.restored_systems import RestoredWorld
from support.sync_worlds import UPSTREAM, until
from support.tenant_stores import COLLECTION

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
    await world.restored()

    async def is_read() -> bool:
        states = await world.states()
        return [states[name]["state"] for name in NAMES] == ["HELD", "IDLE", "IDLE", "HELD", "HELD", "IDLE"]

    async with world.working():
        await until(is_read)
        assert not await world.reason()
        assert [await world.conflicts(name) for name in ("changed", "later", "lost")] == [
            [("VALUE", 2, 1)], [("VALUE", 2, 3)], [("DELETED", {"n": 1}, None)]
        ]  # fmt: skip
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
        await world.request_snapshot()
        await until(lambda: _is_deleted(world, "removed"))


async def test_restored_system_gets_the_values_here_if_these_win(backed_up: RestoredWorld) -> None:
    world = backed_up
    await world.bind(replace(world.bound, policies=Policies(Policy.LOCAL_WINS)))
    await world.restored()
    async with world.working():
        for name in ("changed", "later"):
            await until(lambda name=name: _holds(world, name, {"n": 2}))
        await until(lambda: _is_referred_to(world, "lost"))
    assert not await world.reason()


async def test_system_that_goes_back_again_stops_the_sync_again(backed_up: RestoredWorld) -> None:
    world = backed_up
    await world.restored()

    async with world.working():
        await until(world.snapshot_read)
        world.backup = deepcopy(world.system.rows)
        world.system.edit("equal", n=8)
        await world.request_snapshot()
        await until(lambda: _is_here(world, "equal", {"n": 8}))
    await world.restored()


@pytest.fixture
async def world(database: Database, tenant_id: str) -> RestoredWorld:
    """A record of two fields that was changed there after a backup of the system, and another one that is read."""
    opened = RestoredWorld(database, tenant_id)
    await opened.bind()
    for name in ("r", "other"):
        opened.system.insert({"n": 1, "m": 1}, name)
    opened.back_up()
    for name in ("r", "other"):
        opened.system.edit(name, n=2, m=2)
    await opened.pull(snapshot=True)
    return opened


@pytest.mark.parametrize("was_applied", [False, True], ids=["lost", "applied"])
@pytest.mark.parametrize("knows_keys", [False, True], ids=["new-keys", "old-keys"])
async def test_update_that_is_out_during_a_restore_is_in_conflict(
    world: RestoredWorld, was_applied: bool, knows_keys: bool
) -> None:
    """Read the record before the write is repeated, which may be answered by its key without being stored."""
    await world.patch("r", {"n": 3})
    world.system.faults.lost_after, world.system.faults.lost_before = float(was_applied), float(not was_applied)
    await world.send_once()
    assert (await world.state("r"))["state"] == "SENDING"
    if not knows_keys:
        world.system.applied = {}
    world.system.faults.lost_after, world.system.faults.lost_before = 0.0, 1.0  # a repetition until the sync is stopped
    await world.stopped()
    world.system.faults.lost_before = 0.0
    await world.resume()
    async with world.working():
        await until(lambda: world.settled("r", "other"))
    assert await world.value("r") == {"n": 3, "m": 2}
    assert world.system.live()["r"] == {"n": 1, "m": 1}
    assert await world.conflicts("r") == [("VALUE", 2, 1), ("VALUE", 3, 1)]
    await world.pull(snapshot=True)  # it does not stop again


@pytest.mark.parametrize("deletes", [False, True], ids=["update", "delete"])
async def test_write_that_is_out_does_not_replace_what_was_written_since_the_restore(
    world: RestoredWorld, deletes: bool
) -> None:
    """Send nothing on the condition of a version that the upstream has given to something else since."""
    if deletes:
        await world.delete("r")
    else:
        await world.patch("r", {"n": 3})
    world.system.faults.lost_before = 1.0
    await world.send_once()
    assert (await world.state("r"))["if_match"] == "2"
    await world.stopped()
    world.system.faults.lost_before = 0.0
    world.system.edit("r", m=5)
    await world.resume()
    async with world.working():
        await until(lambda: world.settled("r", "other"))
    assert world.system.live()["r"] == {"n": 1, "m": 5}
    theirs = {"n": 1, "m": 5}
    assert await world.conflicts("r") == (
        [("CHANGED", None, theirs)] if deletes else [("VALUE", 2, 5), ("VALUE", 3, 1)]
    )


async def test_record_without_content_that_the_backup_lacks_is_not_deleted(world: RestoredWorld) -> None:
    world.system.insert({}, "empty")
    await world.pull(snapshot=True)
    await world.restored()
    async with world.working():
        await until(lambda: world.settled("r", "other"))
        await until(world.snapshot_read)
    assert await world.conflicts("empty") == [("DELETED", {}, None)]
    assert await world.value("empty") == {}


async def test_write_that_seems_applied_after_a_restore_does_not_hide_what_the_restore_replaced(
    world: RestoredWorld,
) -> None:
    """Hold the other values of a record that holds what was sent, because others have stored the same there."""
    await world.patch("r", {"n": 3})
    world.system.faults.lost_before = 1.0
    await world.send_once()
    await world.stopped()
    world.system.faults.lost_before = 0.0
    world.system.edit("r", n=3)
    await world.resume()
    async with world.working():
        await until(lambda: world.settled("r", "other"))
    assert await world.value("r") == {"n": 3, "m": 2}
    assert await world.conflicts("r") == [("VALUE", 2, 1)]


async def test_edit_there_after_a_restore_does_not_hide_what_the_restore_replaced(world: RestoredWorld) -> None:
    """Hold a record whose version is newer than the known one, because it grew from an older one."""
    await world.stopped()
    for value in (2, 3, 4):
        world.system.edit("r", m=value)
    await world.resume()
    async with world.working():
        await until(lambda: world.settled("r", "other"))
    assert await world.value("r") == {"n": 2, "m": 2}
    assert await world.conflicts("r") == [("VALUE", 2, 4), ("VALUE", 2, 1)]


async def test_older_version_that_is_refused_does_not_stop_the_sync_again(world: RestoredWorld) -> None:
    """Know the version of a record whose content from the backup violates the JSON Schema, until it is mended there."""
    world.backup["r"].document = {"n": 1, "m": 1, "k": "a field that was removed after the backup"}
    await world.declare('{"type": "object", "properties": {"k": {"type": "number"}}}')
    await world.restored()

    async def is_refused() -> bool:
        return (await world.state("r"))["state"] == "FAILED"

    async with world.working():
        await until(is_refused)
        await until(lambda: world.settled("other"))
    assert await world.value("r") == {"n": 2, "m": 2}
    await world.patch("r", {"n": 3})  # it is read again before it is sent
    await world.push()
    await world.pull(snapshot=True)
    assert (await world.state("r"))["state"] == "FAILED"
    world.system.edit("r", k=7)
    await world.pull(snapshot=True)
    assert await world.conflicts("r") == [("VALUE", 2, 1), ("VALUE", 3, 1)]


async def test_record_that_is_created_there_again_does_not_stop_the_sync_again(world: RestoredWorld) -> None:
    """Accept a lower version of a record that was missing after the restore."""
    del world.backup["r"]
    await world.restored()
    async with world.working():
        await until(lambda: world.settled("r", "other"))
    assert await world.conflicts("r") == [("DELETED", {"n": 2, "m": 2}, None)]
    world.system.insert({"n": 8, "m": 2}, "r")
    await world.pull(snapshot=True)
    assert await world.conflicts("r") == [("VALUE", 2, 8)]


async def test_put_of_a_stopped_sync_continues_with_the_older_versions(world: RestoredWorld) -> None:
    """Replace the sync instead of resuming it, as for another policy: nothing is sent before a snapshot."""
    await world.patch("r", {"n": 3})
    await world.stopped()
    await world.bind(replace(world.bound, policies=Policies(Policy.LOCAL_WINS)))
    assert not await world.snapshot_read()
    async with world.working():
        await until(lambda: _holds(world, "r", {"n": 3, "m": 2}))
        await until(lambda: _holds(world, "other", {"n": 2, "m": 2}))
    assert not await world.reason()


@pytest.mark.parametrize("decides", ["retry", "resolve"])
async def test_decision_between_a_resume_and_its_snapshot_does_not_stop_the_sync_again(
    world: RestoredWorld, decides: str
) -> None:
    """Compare what the system holds with the values here, whatever a person decided about those of before."""
    if decides == "retry":
        world.system.refused_words = ("no",)
        await world.patch("r", {"n": "no"})
        await world.push()
        assert (await world.state("r"))["state"] == "FAILED"
        world.system.refused_words = ()
    else:
        await world.patch("r", {"n": "no"})
        world.system.edit("r", n=7)
        await world.pull(snapshot=True)
        assert await world.conflicts("r") == [("VALUE", "no", 7)]
    await world.stopped()
    await world.resume()
    decisions = SyncDecisions(world.database, world.specs, Limits())
    if decides == "retry":
        async with world.database.transaction() as transaction:
            assert await decisions.retry(transaction, world.tenant_id, COLLECTION, ["r"], forgets_attempts=False) == [
                "r"
            ]
    else:
        await decisions.load_spec(world.tenant_id, COLLECTION)
        async with world.database.transaction() as transaction:
            await decisions.resolve(
                transaction, world.actor("ada"), COLLECTION, "r", [Decision("/n", takes_theirs=False)],
                expected_version=None, change_reason="",
            )  # fmt: skip
    async with world.working():
        await until(lambda: world.settled("r", "other"))
    assert not await world.reason()
    assert await world.conflicts("r") == [("VALUE", 2, 1), ("VALUE", "no", 1)]
    assert world.system.live()["r"] == {"n": 1, "m": 1}


@pytest.mark.parametrize("deletes", [False, True], ids=["update", "delete"])
async def test_sync_that_does_not_pull_reads_a_record_before_it_is_sent_after_a_restore(
    world: RestoredWorld, deletes: bool
) -> None:
    """Hold a record that has the known version with another content, and send one that did not change."""
    world.system.insert({"n": 2, "m": 2}, "same")
    await world.pull(snapshot=True)
    world.backup["same"] = deepcopy(world.system.rows["same"])
    world.backup["r"].version, world.backup["r"].document = 2, {"n": 1, "m": 5}
    await world.stopped()
    await world.bind(pull=False)
    for name in ("r", "same"):
        if deletes:
            await world.delete(name)
        else:
            await world.patch(name, {"n": 3})
    previews = await SyncPreviews(world.database).push(world.tenant_id, UPSTREAM)
    assert [each.record_ids["READ"] for each in previews] == [["r", "same"]]

    async def is_held() -> bool:
        return bool((await world.state("r"))["state"] == "HELD")

    async def is_sent() -> bool:
        return world.system.live().get("same") == (None if deletes else {"n": 3, "m": 2})

    async with world.working():
        await until(is_held)
        await until(is_sent)
    assert world.system.live()["r"] == {"n": 1, "m": 5}


async def _holds(world: RestoredWorld, remote_id: str, document: dict[str, Any]) -> bool:
    return world.system.live().get(remote_id) == document


async def _is_here(world: RestoredWorld, record_id: str, content: dict[str, Any]) -> bool:
    return await world.value(record_id) == content


async def _is_deleted(world: RestoredWorld, record_id: str) -> bool:
    return await world.value(record_id) is None


async def _is_referred_to(world: RestoredWorld, record_id: str) -> bool:
    return any(row.reference == record_id and not row.deleted for row in world.system.rows.values())
