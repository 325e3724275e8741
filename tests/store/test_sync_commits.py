"""Syncs that send the records of a commit in one atomic batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from draftline.upstreams import BatchRefusedError, Outcome, Refused, UnauthorizedError, UpstreamError, WriteItem
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.sync import push as push_module
from draftline_server.sync.push import Push
from support.sync_worlds import SyncWorld
from support.tenant_stores import COLLECTION, change, creation
from support.upstream_toy import Faults, ToySystem, ToyUpstream

# Due since a second ago: the clock of the service may be behind that of the database by the error of its reading.
DUE = Statement(
    "due",
    "UPDATE draftline.sync_record SET next_at = now() - interval '1 second' WHERE tenant_id = $1 "
    "AND next_at IS NOT NULL",
    ("tenant_id",),
)
RETRY = Statement(
    "retry",
    "UPDATE draftline.sync_record SET state = 'DUE', error = NULL, next_at = now() - interval '1 second' "
    "WHERE tenant_id = $1 AND record_id = $2",
    ("tenant_id", "record_id"),
)


@pytest.fixture
async def world(database: Database, tenant_id: str) -> SyncWorld:
    """A tenant with a sync that sends commits as batches of at most 10 records."""
    world = SyncWorld(database, tenant_id)
    world.system.capabilities = replace(world.system.capabilities, atomic_batch=True)
    await world.bind(batch_by_commit=True)
    return world


async def commit(world: SyncWorld, contents: Mapping[str, Mapping[str, Any]], *, new: bool = False) -> None:
    """Write several records by one commit."""
    edits = [(creation if new else change)(record_id, dict(content)) for record_id, content in contents.items()]
    for result in await world.save_all("ada", edits):
        assert result.error is None
    await world.commit("ada")


def live(world: SyncWorld) -> dict[str, Any]:
    return {row.reference: row.document["n"] for row in world.system.rows.values() if not row.deleted}


async def test_records_of_a_commit_are_applied_in_one_batch(world: SyncWorld) -> None:
    """Send each commit of several records on its own, and single records together in one request."""
    await commit(world, {name: {"n": 1} for name in "abc"}, new=True)
    await commit(world, {name: {"n": 1} for name in "de"}, new=True)
    for name in "fgh":
        await world.create(name, {"n": 1})
    await world.push()
    assert sorted(world.system.atomic_batches) == [["a", "b", "c"], ["d", "e"]]
    assert (len(live(world)), world.system.requests) == (8, 3)
    assert {each["state"] for each in (await world.states()).values()} == {"IDLE"}


async def test_commit_waits_while_one_of_its_records_is_refused(world: SyncWorld) -> None:
    """Apply no record of a commit that has a refused one, until that is retried or changed by another commit."""
    await commit(world, {name: {"n": 0} for name in "abc"}, new=True)
    await world.push()
    world.system.refused_words = ("bad",)
    await commit(world, {"a": {"n": 1}, "b": {"n": "bad"}, "c": {"n": 1}})
    await world.push()
    await world.database.fetch(DUE, {"tenant_id": world.tenant_id})
    await world.push()
    states = await world.states()
    assert {name: each["state"] for name, each in states.items()} == {"a": "DUE", "b": "FAILED", "c": "DUE"}
    assert ("COMMIT_WAITS" in states["a"]["error_text"], live(world)) == (True, {"a": 0, "b": 0, "c": 0})
    world.system.refused_words = ()
    world.system.applied.clear()
    await world.database.fetch(RETRY, {"tenant_id": world.tenant_id, "record_id": "b"})
    await world.push()  # the others are sent although they would wait for longer
    assert (world.system.atomic_batches[-1], live(world)) == (["a", "b", "c"], {"a": 1, "b": "bad", "c": 1})
    world.system.refused_words = ("bad",)
    await commit(world, {"a": {"n": 2}, "b": {"n": "bad 2"}})
    await world.push()
    await commit(world, {"b": {"n": 3}})
    await world.database.fetch(DUE, {"tenant_id": world.tenant_id})
    await world.push()
    assert live(world) == {"a": 2, "b": 3, "c": 1}


async def test_commit_waits_while_one_of_its_records_is_in_conflict(world: SyncWorld) -> None:
    """Apply no record of a commit of which one was changed upstream as well."""
    await commit(world, {name: {"n": 0} for name in "ab"}, new=True)
    await world.push()
    world.system.edit("r1", n=7)
    await commit(world, {name: {"n": 1} for name in "ab"})
    await world.push()
    assert live(world) == {"a": 7, "b": 0}
    assert {name: each["state"] for name, each in (await world.states()).items()} == {"a": "HELD", "b": "DUE"}


async def test_commit_stays_whole_if_one_of_its_records_is_merged_first(world: SyncWorld) -> None:
    """Send a record that a pull has changed since together with the others of its commit."""
    await commit(world, {name: {"n": 0} for name in "ab"}, new=True)
    await world.push()
    await commit(world, {name: {"n": 1} for name in "ab"})
    world.system.edit("r1", m=7)
    await world.pull()
    assert (await world.value("a"), live(world)) == ({"n": 1, "m": 7}, {"a": 0, "b": 0})
    await world.push()
    assert (world.system.atomic_batches[-1], live(world)) == (["a", "b"], {"a": 1, "b": 1})


async def test_commit_waits_while_an_earlier_write_of_one_of_its_records_is_out(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Send no record of a commit while the outcome of another one's write for an earlier commit is not known."""
    monkeypatch.setattr(push_module, "MAX_LOOKED_UP", 1)
    await commit(world, {name: {"n": 0} for name in "ab"}, new=True)
    await world.push()
    await commit(world, {name: {"n": 1} for name in "ab"})
    await world.worker._attempts.sweep(COLLECTION)
    world.system.faults = Faults(lost_before=1.0)
    push = Push(world.database, world.worker._attempts, world.worker._merges, world.link())
    await push.push(world.bound, world.system.capabilities, by_commit=True)
    world.system.faults = Faults()
    world.system.edit("r1", m=7)
    await world.database.fetch(DUE, {"tenant_id": world.tenant_id})
    await push.push(world.bound, world.system.capabilities, by_commit=True)  # both are to be read now
    await commit(world, {name: {"n": 2} for name in "ab"})
    await push.recheck(world.bound, world.system.capabilities)  # one of them
    await push.push(world.bound, world.system.capabilities, by_commit=True)
    assert live(world) == {"a": 0, "b": 0}
    await push.recheck(world.bound, world.system.capabilities)
    await push.push(world.bound, world.system.capabilities, by_commit=True)
    assert live(world) == {"a": 2, "b": 2}
    assert world.system.atomic_batches == [["a", "b"]] * 2


async def test_commit_that_does_not_fit_into_a_batch_is_split_and_reported(world: SyncWorld) -> None:
    """Send a large commit in several batches, and name it in one event."""
    await commit(world, {f"p{index:02}": {"n": 1} for index in range(25)}, new=True)
    await world.push()
    assert (len(live(world)), world.system.atomic_batches) == (25, [])
    events = {each["kind"]: each for each in await world.events()}
    assert list(events) == ["COMMIT_SPLIT"]
    assert "more than 10 records" in events["COMMIT_SPLIT"]["message"]


async def test_upstream_without_atomic_batches_gets_records_as_usual(world: SyncWorld) -> None:
    """Send the records of a commit although one of them is refused, if the system has no atomic batches."""
    world.system.capabilities = replace(world.system.capabilities, atomic_batch=False)
    world.system.refused_words = ("bad",)
    await commit(world, {"a": {"n": 1}, "b": {"n": "bad"}}, new=True)
    await world.push()
    assert live(world) == {"a": 1}


class Whole(ToyUpstream):
    """A connection to a system that applies every batch as a whole or not at all."""

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        del atomic
        return await super().write(collection, items, atomic=True)


async def test_system_whose_batches_are_always_atomic_gets_all_others_of_a_refused_record(world: SyncWorld) -> None:
    """Send those again that a plain batch left out, without the refused one."""
    world.system.refused_words = ("bad",)
    for name in "abcd":
        await world.create(name, {"n": "bad" if name == "b" else name})
    await world.push(replace(world.link(), upstream=Whole(world.system)))
    assert live(world) == {"a": "a", "c": "c", "d": "d"}
    states = {name: each["state"] for name, each in (await world.states()).items()}
    assert states == {"a": "IDLE", "b": "FAILED", "c": "IDLE", "d": "IDLE"}


class Expiring(ToyUpstream):
    """A connection that refuses the first batch as a whole, and whose credentials expire before the third request."""

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        self.system.requests += 1
        if self.system.requests == 1:
            raise BatchRefusedError(Refused("BATCH", "some item is not allowed"))
        if self.system.requests >= 3:
            raise UnauthorizedError("the token has expired")
        return [self.system.apply(item) for item in items]


async def test_half_of_a_batch_that_was_applied_is_kept_if_the_other_is_unauthorized(world: SyncWorld) -> None:
    """Store what was applied before the credentials expired; it would be sent again with another key."""
    for name in "ab":
        await world.create(name, {"n": name})
    await world.push(replace(world.link(), upstream=Expiring(world.system)))
    assert {name: each["state"] for name, each in (await world.states()).items()} == {"a": "IDLE", "b": "DUE"}
    assert live(world) == {"a": "a"}


class Checking(ToyUpstream):
    """A connection that notes whenever the system holds a part of a commit."""

    def __init__(self, system: ToySystem) -> None:
        super().__init__(system)
        self.parts: list[dict[str, Any]] = []

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        outcomes = await super().write(collection, items, atomic=atomic)
        held = {row.reference: row.document["n"] for row in self.system.rows.values()}
        if held.get("a") != held.get("b") or not held.get("c") == held.get("d") == held.get("e"):
            self.parts.append(held)
        return outcomes


async def test_repeated_creations_of_a_refused_commit_are_sent_with_the_later_commit(world: SyncWorld) -> None:
    """Drop the creations that were lost before they arrived if the repetition refuses one of them."""
    world.system.refused_words = ("bad",)
    world.system.faults = Faults(lost_before=1.0)
    await commit(world, {"a": {"n": 1}, "b": {"n": "bad"}}, new=True)
    await world.push()
    world.system.faults = Faults()
    await world.database.fetch(DUE, {"tenant_id": world.tenant_id})
    await world.push()
    assert {name: each["state"] for name, each in (await world.states()).items()} == {"a": "DUE", "b": "FAILED"}
    await commit(world, {name: {"n": 2} for name in "ab"})
    await world.database.fetch(DUE, {"tenant_id": world.tenant_id})
    upstream = Checking(world.system)
    await world.push(replace(world.link(), upstream=upstream))
    assert (upstream.parts, live(world)) == ([], {"a": 2, "b": 2})
    assert world.system.atomic_batches == [["a", "b"]]


@pytest.mark.parametrize("seed", [1, 2])
async def test_system_never_holds_a_part_of_a_commit_under_faults(world: SyncWorld, seed: int) -> None:
    """Lose, delay and repeat requests: every state of the system has all records of a commit or none."""
    world.system.random.seed(seed)
    world.system.faults = Faults.all(0.15)
    upstream = Checking(world.system)
    link = replace(world.link(), upstream=upstream)
    for count in range(8):
        for names in ("ab", "cde"):
            await commit(world, {name: {"n": count} for name in names}, new=not count)
        if count % 2:
            with suppress(UpstreamError):  # of a look-up; the next push repeats it
                await world.push(link)
            await world.database.fetch(DUE, {"tenant_id": world.tenant_id})
    world.system.faults = Faults()
    await asyncio.gather(*world.system.pending)
    for _ in range(10):
        await world.database.fetch(DUE, {"tenant_id": world.tenant_id})
        link.breaker.succeeded()
        await world.push(link)
        if set(live(world).values()) == {7} and len(live(world)) == 5:
            break
    assert upstream.parts == []
    assert live(world) == dict.fromkeys("abcde", 7)
    assert not [key for key, times in world.system.effects.items() if times > 1]
