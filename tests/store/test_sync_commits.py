"""Syncs that send the records of a commit in one atomic batch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from draftline.upstreams import BatchRefusedError, Outcome, Refused, UnauthorizedError, UpstreamError, WriteItem
from draftline_server.domain.sync import Attempt, Policies, Policy
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from draftline_server.sync import push as push_module
from draftline_server.sync.push import Push
from draftline_server.sync.sending import Link
from support.soak_scale import length
from support.sync_worlds import SyncWorld
from support.tenant_stores import COLLECTION, change, creation, deletion
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
    "WHERE tenant_id = $1 AND state = 'FAILED'",
    ("tenant_id",),
)


@pytest.fixture
async def world(database: Database, tenant_id: str) -> SyncWorld:
    """A tenant with a sync that sends commits as batches of at most 10 records."""
    world = SyncWorld(database, tenant_id)
    world.system.capabilities = replace(world.system.capabilities, atomic_batch=True)
    await world.bind(batch_by_commit=True)
    return world


async def commit(world: SyncWorld, contents: Mapping[str, Mapping[str, Any] | None], *, new: bool = False) -> None:
    """Write several records by one commit; None deletes one."""
    edits = [
        deletion(record_id) if content is None else (creation if new else change)(record_id, dict(content))
        for record_id, content in contents.items()
    ]
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
    await world.database.fetch(RETRY, {"tenant_id": world.tenant_id})
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
    """A connection that notes whenever the system holds a part of a commit.

    `commits`: the records of each, whose values are its number. A record that a later commit changed without the other
    one does not belong to it any more.
    """

    def __init__(self, system: ToySystem, commits: Sequence[str]) -> None:
        super().__init__(system)
        self.commits = commits
        self.parts: list[dict[str, Any]] = []

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        outcomes = await super().write(collection, items, atomic=atomic)
        self._check()
        return outcomes

    def _later(self, *items: WriteItem) -> None:
        super()._later(*items)
        for task in self.system.pending:
            task.add_done_callback(lambda _: self._check())

    def _check(self) -> None:
        held = {row.reference: _number(row.document["n"]) for row in self.system.rows.values()}
        if any(self._lacks(name, number, other, held) for name, number in held.items() for other in "abcde"):
            self.parts.append(held)

    def _lacks(self, name: str, number: int, other: str, held: Mapping[str, int]) -> bool:
        """Return whether the system holds a record as a commit left it, and an older version of another one of it."""
        is_older = other in self.commits[number] and held.get(other, -1) < number
        return is_older and all(name in names for names in self.commits[number + 1 :] if other in names)


def _number(value: Any) -> int:
    """Return the number of the commit that wrote a value: 7 for 7 and for "bad 7"."""
    return int(str(value).removeprefix("bad "))


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
    upstream = Checking(world.system, ["", "ab", "ab"])
    await world.push(replace(world.link(), upstream=upstream))
    assert (upstream.parts, live(world)) == ([], {"a": 2, "b": 2})
    assert world.system.atomic_batches == [["a", "b"]]


class KilledError(Exception):
    """The worker was killed."""


class Killed(Push):
    """A push whose worker is killed before it stores an outcome."""

    async def _settle(self, *args: Any, **options: Any) -> None:
        raise KilledError


class Dying(Push):
    """A push whose worker is killed before or after it stores an outcome."""

    async def _settle(self, *args: Any, **options: Any) -> None:
        if self._link.upstream.system.random.random() < 0.5:  # type: ignore[attr-defined]
            await super()._settle(*args, **options)
        raise KilledError


async def step(world: SyncWorld, push_class: type[Push], link: Link | None = None) -> None:
    """Read and send what waits as a worker does that may be killed. Everything is due again afterwards."""
    attempts = world.worker._attempts
    await attempts.sweep(COLLECTION)
    await world.database.fetch(DUE, {"tenant_id": world.tenant_id})
    push = push_class(world.database, attempts, world.worker._merges, link or world.link())
    with suppress(KilledError, UpstreamError):
        for _ in range(3):
            await push.recheck(world.bound, world.system.capabilities)
            await push.push(world.bound, world.system.capabilities, by_commit=True)
    await world.database.fetch(DUE, {"tenant_id": world.tenant_id})


def values(world: SyncWorld, name: str) -> list[Any]:
    """Return the values that the system has had of a record."""
    remote_id = next(key for key, row in world.system.rows.items() if row.reference == name)
    return [document["n"] for document in world.system.history[remote_id]]


async def waiting_commit(
    world: SyncWorld, *, is_new: bool = False, is_held: bool = False, is_killed: bool = True
) -> None:
    """Write a commit of which the system refuses or changes a record, and kill the worker before the others wait."""
    if not is_new:
        await commit(world, {name: {"n": 0} for name in "cde"}, new=True)
        await world.push()
    if is_held:
        world.system.edit(next(key for key, row in world.system.rows.items() if row.reference == "e"), n=0.5)
    world.system.refused_words = ("bad",)
    await commit(world, {"c": {"n": 1}, "d": {"n": 1}, "e": {"n": 1 if is_held else "bad"}}, new=is_new)
    await world.push()
    if is_killed:
        await step(world, Killed)
    states = {name: each["state"] for name, each in (await world.states()).items()}
    waits = "SENDING" if is_killed else "DUE"
    assert states == {"c": waits, "d": waits, "e": "HELD" if is_held else "FAILED"}


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([{"c": {"n": 2}, "d": {"n": 2}, "e": {"n": 2}}], {"c": [0, 2], "d": [0, 2], "e": [0, 2]}),
        ([{"c": {"n": 2}, "d": {"n": 2}, "e": {"n": 0}}], {"c": [0, 2], "d": [0, 2], "e": [0]}),
        ([{"c": {"n": 2}, "d": {"n": 2}, "e": None}], {"c": [0, 2], "d": [0, 2], "e": [0, 0]}),
        ([{"c": {"n": 2}, "e": {"n": 2}}], {"c": [0, 2], "d": [0, 1], "e": [0, 2]}),
        ([{"c": {"n": 2}, "e": {"n": 2}}, {"c": {"n": 3}}], {"c": [0, 3], "d": [0, 1], "e": [0, 2]}),
        ([{"c": {"n": 2}}], {"c": [0], "d": [0], "e": [0]}),
        ([{"e": {"n": 2}}], {"c": [0, 1], "d": [0, 1], "e": [0, 2]}),
    ],
    ids=["all", "reverted", "deleted", "some", "one again", "not the refused one", "only the refused one"],
)
async def test_rest_of_a_refused_commit_is_not_repeated_without_it(
    world: SyncWorld, later: Sequence[Mapping[str, Any]], expected: Mapping[str, Any]
) -> None:
    """Send no part of a commit after a later one changed both a record that waits and the refused one."""
    await waiting_commit(world)
    for contents in later:
        await commit(world, contents)
    for _ in range(3):
        await step(world, Push)
    assert {name: values(world, name) for name in "cde"} == expected
    assert max(world.system.effects.values()) == 1


async def test_creations_of_a_refused_commit_are_not_repeated_without_it(world: SyncWorld) -> None:
    """Create no part of a commit that a later one replaced."""
    await waiting_commit(world, is_new=True)
    await commit(world, {name: {"n": 2} for name in "cde"})
    await step(world, Push)
    assert {name: values(world, name) for name in "cde"} == {"c": [2], "d": [2], "e": [2]}


async def test_creations_without_a_reference_are_repeated_with_their_keys(world: SyncWorld) -> None:
    """Double no record in a system that recognizes creations only by their keys."""
    world.system.capabilities = replace(world.system.capabilities, client_reference=False)
    world.system.honours_references = False
    await waiting_commit(world, is_new=True)
    await commit(world, {name: {"n": 2} for name in "cde"})
    for _ in range(2):
        await step(world, Push)
    assert (sorted(row.reference for row in world.system.rows.values()), live(world)) == (
        ["c", "d", "e"],
        dict.fromkeys("cde", 2),
    )


async def test_rest_of_a_commit_in_conflict_is_not_repeated_without_it(world: SyncWorld) -> None:
    """Send no part of a commit of which a record was held, after a later one changed all."""
    await waiting_commit(world, is_held=True)
    await commit(world, {name: {"n": 2} for name in "cde"})
    await step(world, Push)
    assert {name: values(world, name) for name in "cde"} == {"c": [0], "d": [0], "e": [0, 0.5]}
    world.system.edit(next(key for key, row in world.system.rows.items() if row.reference == "e"), n=2)
    await world.pull()
    await step(world, Push)
    assert {name: values(world, name) for name in "cde"} == {"c": [0, 2], "d": [0, 2], "e": [0, 0.5, 2]}


async def test_attempts_are_not_sent_if_the_refused_record_is_replaced_meanwhile(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Send no part of a commit that is replaced between the storage of its attempts and the first request."""
    await waiting_commit(world, is_killed=False)
    attempts = world.worker._attempts
    prepare = attempts.prepare

    async def prepare_and_commit(*args: Any) -> Sequence[Attempt]:
        prepared = await prepare(*args)
        monkeypatch.undo()
        await commit(world, {name: {"n": 2} for name in "cde"})
        return prepared

    monkeypatch.setattr(attempts, "prepare", prepare_and_commit)
    for _ in range(3):
        await step(world, Push)
    assert {name: values(world, name) for name in "cde"} == {"c": [0, 2], "d": [0, 2], "e": [0, 2]}


@pytest.mark.parametrize("seed", range(9, 9 + length("COMMIT_SEEDS", 3, soak=200)))
async def test_system_never_holds_a_part_of_a_commit_under_faults(world: SyncWorld, seed: int) -> None:
    """Lose, delay, repeat and refuse requests, and kill workers: the system has all records of a commit or none."""
    chance = random.Random(seed)
    world.system.random.seed(seed)
    world.system.faults = Faults.all(0.05)
    # A request that arrives late may look like a change by others, and must not hold a record.
    world.bound = replace(world.bound, policies=Policies(Policy.LOCAL_WINS))
    commits: list[str] = []
    upstream = Checking(world.system, commits)
    link = replace(world.link(), upstream=upstream)
    for _ in range(8):
        world.system.refused_words = ("bad ",) if chance.random() < 0.8 else ()
        for names in ("ab", "cde"):
            is_new, number = len(commits) < 2, len(commits)
            commits.append(names if is_new or chance.random() < 0.6 else "".join(chance.sample(names, 2)))
            bad = chance.choice(commits[-1]) if chance.random() < 0.5 else ""
            contents = {name: {"n": f"bad {number}" if name == bad else number} for name in commits[-1]}
            await commit(world, contents, new=is_new)
        if world.system.rows and chance.random() < 0.3:
            world.system.edit(chance.choice(list(world.system.rows)), m=number)
        for _ in range(chance.choice((0, 1, 2, 3))):
            link.breaker.succeeded()
            await step(world, Dying if chance.random() < 0.4 else Push, link)
    world.system.faults, world.system.refused_words = Faults(), ()
    await asyncio.gather(*world.system.pending)
    for _ in range(10):
        link.breaker.succeeded()
        await world.database.fetch(RETRY, {"tenant_id": world.tenant_id})
        await step(world, Push, link)
        if {each["state"] for each in (await world.states()).values()} == {"IDLE"}:
            break
    assert upstream.parts == []
    last = {name: number for number, names in enumerate(commits) for name in names}
    assert {name: _number(value) for name, value in live(world).items()} == last
    assert not [key for key, times in world.system.effects.items() if times > 1]
