"""Reads that began before something newer was known of a record, at a system whose ids are its own.

The system returns no client reference, so a read names a record only by its remote id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from draftline_server.domain.sync import Answer, BoundCollection, Policies, Policy
from draftline_server.store.database import Database
from draftline_server.store.sync import progress as progress_module
from draftline_server.store.sync.decisions import SyncDecisions
from draftline_server.store.sync.merges import CreationsOutError, ReadExpiredError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.soak_scale import examples
from support.sync_worlds import SyncWorld, answer
from support.tenant_stores import COLLECTION, connected
from support.upstream_toy import ToySystem

from .test_order_entries import purge

KEPT = BoundCollection(COLLECTION, policies=Policies(Policy.LOCAL_WINS))


def own_ids(**capabilities: Any) -> ToySystem:
    full = ToySystem().capabilities
    options = {"client_reference": False, "ordered_versions": False, **capabilities}
    return ToySystem(replace(full, **options), honours_references=False)


@pytest.fixture
def world(database: Database, tenant_id: str) -> SyncWorld:
    return SyncWorld(database, tenant_id, own_ids())


class Read:
    """A read of all records that has begun, and is merged later."""

    def __init__(self, world: SyncWorld, mark: int, answers: list[Answer]) -> None:
        self._world, self._mark, self._answers = world, mark, answers

    @classmethod
    async def begin(cls, world: SyncWorld) -> Read:
        mark = await world.worker._merges.mark()
        rows = world.system.rows.items()
        found = [answer(key, None if row.deleted else dict(row.document), row.version) for key, row in rows]
        return cls(world, mark, found)

    async def merge(self) -> None:
        """Merge it, and read again what that leaves open."""
        await self._world.merge(*self._answers, mark=self._mark, needs_references=True)
        await self._world.push()


async def pushed(world: SyncWorld, bound: BoundCollection | None = None) -> str:
    """Create a record here and send it. Return its remote id."""
    await world.bind(bound)
    await world.create("p", {"n": 1})
    await world.push()
    remote_id = (await world.state("p"))["remote_id"]
    assert remote_id != "p"
    return str(remote_id)


async def deleted_here(world: SyncWorld, remote_id: str) -> None:
    del remote_id
    await world.delete("p")
    await world.push()


async def deleted_and_purged(world: SyncWorld, remote_id: str) -> None:
    await deleted_here(world, remote_id)
    await purge(world, "p")


async def deleted_there(world: SyncWorld, remote_id: str) -> None:
    world.system.remove(remote_id)
    await world.pull()


async def deleted_there_and_purged(world: SyncWorld, remote_id: str) -> None:
    await deleted_there(world, remote_id)
    await purge(world, "p")


async def deleted_and_restored(world: SyncWorld, remote_id: str) -> None:
    await deleted_here(world, remote_id)
    await world.undelete("p")
    await world.push()


async def deleted_there_and_kept_here(world: SyncWorld, remote_id: str) -> None:
    await world.patch("p", {"n": 2})
    world.system.remove(remote_id)
    await world.pull()
    await world.push()


ENDS: dict[str, tuple[Callable[[SyncWorld, str], Awaitable[None]], int]] = {
    # what happens after a read has begun -> how many records both sides have in the end
    "deleted_here": (deleted_here, 0),
    "deleted_and_purged": (deleted_and_purged, 0),
    "deleted_there": (deleted_there, 0),
    "deleted_there_and_purged": (deleted_there_and_purged, 0),
    "deleted_and_restored": (deleted_and_restored, 1),
    "deleted_there_and_kept_here": (deleted_there_and_kept_here, 1),
}


async def live(world: SyncWorld) -> dict[str, Any]:
    return {row["record_id"]: row["content"] for row in await world.stored("record") if not row["deleted_at"]}


async def assert_alike(world: SyncWorld, expected: int) -> None:
    states, here = await world.states(), await live(world)
    assert {each["state"] for each in states.values()} <= {"IDLE"}
    assert {states[record_id]["remote_id"]: content for record_id, content in here.items()} == world.system.live()
    assert len(here) == expected


@pytest.mark.parametrize("end", ENDS)
async def test_read_that_began_before_a_deletion_creates_no_record(world: SyncWorld, end: str) -> None:
    """Read the id again, wherever the deletion was made and whatever became of the record."""
    act, expected = ENDS[end]
    remote_id = await pushed(world, KEPT)
    read = await Read.begin(world)
    await act(world, remote_id)
    await read.merge()
    await assert_alike(world, expected)


async def test_read_that_began_before_the_deletion_of_an_unknown_record_creates_none(world: SyncWorld) -> None:
    """Remember deletions of records that were never known here."""
    await world.bind()
    remote_id = world.system.insert({"n": 1})
    read = await Read.begin(world)
    world.system.remove(remote_id)
    await world.pull()
    await read.merge()
    await assert_alike(world, 0)


async def test_deleted_ids_are_forgotten_and_older_reads_still_create_no_record(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delete the row of a remote id only when every read from before its deletion is refused."""
    progress = world.worker.progress
    monkeypatch.setattr(progress_module, "GONE_INTERVAL", timedelta(0))
    remote_id = await pushed(world)
    await world.create("live", {"n": 1})
    await world.push()
    before = await Read.begin(world)
    world.system.remove(remote_id)
    await world.pull(snapshot=True)
    await purge(world, "p")
    assert set(await world.states()) == {"p", "live", remote_id}
    await progress.forget_gone([COLLECTION])
    await before.merge()  # the row makes it read the id again
    assert set(await live(world)) == {"live"}
    for _ in range(2):
        await progress.forget_gone([COLLECTION])
        with pytest.raises(ReadExpiredError):
            await before.merge()
    await progress.forget_gone([COLLECTION])
    assert set(await world.states()) == {"live"}
    with pytest.raises(ReadExpiredError):
        await before.merge()
    assert set(await live(world)) == {"live"}
    await world.bind(world.bound)  # keeps the limit
    with pytest.raises(ReadExpiredError):
        await before.merge()
    await (await Read.begin(world)).merge()
    assert set(await live(world)) == {"live"}


async def test_deleted_ids_are_kept_for_a_day_at_least(world: SyncWorld) -> None:
    """Forget nothing before the interval has passed."""
    remote_id = await pushed(world)
    world.system.remove(remote_id)
    await world.pull()
    for _ in range(5):
        await world.worker.progress.forget_gone([COLLECTION])
    assert remote_id in await world.states()


async def test_record_that_the_system_restored_is_created_by_an_older_read_as_well(world: SyncWorld) -> None:
    """Decide by what the id is now, not by what was known of it."""
    remote_id = await pushed(world)
    read = await Read.begin(world)
    await deleted_here(world, remote_id)
    world.system.rows[remote_id].deleted = False
    world.system.edit(remote_id, n=3)
    await read.merge()
    assert {key: value["n"] for key, value in (await live(world)).items()} == {remote_id: 3}
    await assert_alike(world, 1)


async def test_read_that_began_before_a_link_is_not_merged(world: SyncWorld) -> None:
    """Link a record, and merge what its remote record holds now in place of what it held before."""
    world.system.refused_words = ("first",)
    await world.bind()
    await world.create("p", {"name": "first"})
    await world.push()
    remote_id = world.system.insert({"name": "old"})
    read = await Read.begin(world)
    world.system.remove(remote_id)
    async with world.database.transaction() as transaction:
        decisions = SyncDecisions(world.database, world.specs, world.stores.limits)
        await decisions.load_spec(world.tenant_id, COLLECTION)
        await decisions.link(transaction, world.actor("ada"), COLLECTION, "p", remote_id)
    results = await world.merge(*read._answers, mark=read._mark)
    assert [each.deferral for each in results] == ["NEWER_KNOWN"]


async def test_read_that_began_before_an_attempt_was_forgotten_hides_no_later_change(
    database: Database, tenant_id: str
) -> None:
    """Read a record again whose attempt was given up, so that a change of others since is not overwritten unseen."""
    world = SyncWorld(database, tenant_id, own_ids(conditional_writes=False))
    world.system.honours_versions = False
    remote_id = await pushed(world)
    read = await Read.begin(world)
    await world.patch("p", {"n": 2})
    world.system.faults.lost_after = 1.0
    await world.push()
    world.system.faults.lost_after = 0.0
    world.system.edit(remote_id, n=3)
    async with world.database.transaction() as transaction:
        decisions = SyncDecisions(world.database, world.specs, world.stores.limits)
        await decisions.retry(transaction, world.tenant_id, COLLECTION, ["p"], forgets_attempts=True)
    await read.merge()
    assert world.system.live()[remote_id] == {"n": 3}
    assert (await world.state("p"))["state"] == "HELD"


@pytest.mark.parametrize("is_ordered", [False, True], ids=["unordered", "ordered"])
async def test_read_that_overlaps_a_merged_one_is_left(world: SyncWorld, is_ordered: bool) -> None:
    """Read a record again if another read of it was merged meanwhile: the first to begin may be the last to read."""
    await world.bind()
    remote_id = world.system.insert({"n": 1})
    await world.pull(snapshot=True)
    pull = await world.worker._merges.mark()
    look_up = await Read.begin(world)
    world.system.edit(remote_id, n=2)
    await world.merge(answer(remote_id, {"n": 2}, 2), mark=pull, is_ordered=is_ordered)
    results = await world.merge(*look_up._answers, mark=look_up._mark, is_ordered=is_ordered)
    assert [each.deferral for each in results] == ["NEWER_KNOWN"]
    await world.push()
    assert await world.value(remote_id) == {"n": 2}


STEPS = st.lists(
    st.sampled_from(["create", "patch", "delete", "undelete", "push", "insert", "edit", "remove", "begin", "merge"]),
    min_size=5,
    max_size=25,
)


class Walk:
    """Steps on both sides, with reads that are merged in any order."""

    def __init__(self, world: SyncWorld) -> None:
        self.world = world
        self.reads: list[Read] = []
        self.count = 0

    async def step(self, name: str, choice: int) -> None:
        world, self.count = self.world, self.count + 1
        here, there = sorted(await live(world)), sorted(world.system.live())
        gone = sorted(row["record_id"] for row in await world.stored("record") if row["deleted_at"])
        if name == "create":
            await world.create(f"p{self.count}", {"n": self.count})
        elif name == "patch" and here:
            await world.patch(here[choice % len(here)], {"n": self.count})
        elif name == "delete" and here:
            await world.delete(here[choice % len(here)])
        elif name == "undelete" and gone:
            await world.undelete(gone[choice % len(gone)])
        elif name == "push":
            await world.push()
        elif name == "insert":
            world.system.insert({"n": self.count})
        elif name == "edit" and there:
            world.system.edit(there[choice % len(there)], n=self.count)
        elif name == "remove" and there:
            world.system.remove(there[choice % len(there)])
        elif name == "begin":
            self.reads.append(await Read.begin(world))
        elif name == "merge" and self.reads:
            await self._merge(self.reads.pop(choice % len(self.reads)))

    async def _merge(self, read: Read) -> None:
        try:
            await read.merge()
        except CreationsOutError:
            self.reads.append(read)

    async def end(self) -> None:
        """Let both sides settle, and merge the oldest reads last."""
        for _ in range(3):
            await self.world.push()
            await self.world.pull()
        while self.reads:
            await self.reads.pop().merge()
        await self.world.push()


def test_reads_that_are_merged_in_any_order_leave_both_sides_alike(database_url: str) -> None:
    """Both sides have the same records in the end, without a snapshot, whenever a read began."""
    numbers = count()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        database = runner.run(stack.enter_async_context(connected(database_url, size=2)))

        async def walk(steps: list[str], choices: list[int]) -> None:
            world = SyncWorld(database, f"walk-{next(numbers)}", own_ids())
            walked = Walk(world)
            await world.bind(KEPT)
            for name, choice in zip(steps, choices, strict=False):
                await walked.step(name, choice)
            await walked.end()
            await assert_alike(world, len(world.system.live()))

        @settings(max_examples=examples(15))
        @given(STEPS, st.lists(st.integers(0, 9), min_size=25, max_size=25))
        def walks(steps: list[str], choices: list[int]) -> None:
            runner.run(walk(steps, choices))

        try:
            walks()
        finally:
            runner.run(stack.aclose())
