"""The integrity of references: no accepted write leaves a checked relation with an id without a live record."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from draftline_server.domain.changes import ChangeRef
from draftline_server.domain.drafts import ConflictPolicy
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.errors import DraftlineError, RecordReferencedError, ReferenceNotFoundError
from draftline_server.domain.records import Delta, ImportMode, NewRecord, Operations, Patch
from draftline_server.store.collections.order_entries import OrderEntries
from draftline_server.store.database import Database
from draftline_server.store.relations.dangling import ReferenceChecker, count_dangling
from draftline_server.store.relations.references import SQL
from draftline_server.store.statements import Statement
from draftline_server.store.transaction import Transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from support.query_plans import explained, nodes
from support.races import Races
from support.soak_scale import examples
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, World, change, creation, deletion, of_records

CHECKED = {"collection": COLLECTION, "inverse": "", "integrity": "CHECK", "on_delete": "RESTRICT"}
RELATIONS = json.dumps(
    [{"name": "maker", "path": ["maker"], **CHECKED}, {"name": "crew", "path": ["all", "crew"], **CHECKED}]
)
IDS = ["a", "b", "c", "d"]


async def declared(world: World) -> None:
    await world.declare(relations=RELATIONS)
    await OrderEntries(world.database).build(world.tenant_id, COLLECTION)


def named(content: dict[str, Any]) -> set[str]:
    crew = content.get("all", {}).get("crew", [])
    return {each for each in [content.get("maker"), *(crew if isinstance(crew, list) else [crew])] if each}


async def dangling(world: World) -> set[tuple[str, str]]:
    """Return the pairs of a live record and an id that it names without a live record."""
    rows = [row for row in await world.stored("record") if row["deleted_at"] is None]
    live = {row["record_id"] for row in rows}
    return {(row["record_id"], each) for row in rows for each in named(row["content"]) - live}


def content(dice: random.Random) -> dict[str, Any]:
    maker = dice.choice([None, None, *IDS])
    crew = dice.choice([[], [], dice.choices(IDS, k=2), dice.choice(IDS)])
    return {**({"maker": maker} if maker else {}), **({"all": {"crew": crew}} if crew else {}), "n": dice.random()}


def patch(dice: random.Random) -> Patch:
    record_id = dice.choice(IDS)
    delta = Delta(json.dumps(content(dice)), dice.choice(list(Strategy)))
    steps = [
        Operation("add", ("maker",), value=dice.choice(IDS)), Operation("copy", ("maker",), ("other",)),
        Operation("add", ("other",), value=dice.choice(IDS)), Operation("move", ("all",), ()),
        Operation("replace", (), value=content(dice)),
    ]  # fmt: skip
    edit: Delta | Operations = dice.choice([delta, delta, Operations(dice.sample(steps, 2))])
    creates = dice.random() < 0.3
    return Patch(COLLECTION, record_id, edit, allow_missing=creates, allow_deleted=creates)


async def write(world: LoggedWorld, dice: random.Random, user: str) -> Any:
    """Write something by one of the paths on which records are written."""
    record_id, partial = dice.choice(IDS), dice.random() < 0.5
    edits = [
        change(record_id, content(dice)),
        creation(record_id, content(dice), allow_deleted=True),
        deletion(record_id),
    ]
    new = NewRecord(COLLECTION, record_id, json.dumps(content(dice)), allow_deleted=dice.random() < 0.5)
    imported = {each: content(dice) for each in dice.sample(IDS, 2)}
    mode = dice.choice([ImportMode.UPSERT, ImportMode.SNAPSHOT])
    patches = list({each.record_id: each for each in (patch(dice) for _ in range(3))}.values())

    async def commit() -> Any:
        for edit in dice.sample(edits, 2):
            with contextlib.suppress(DraftlineError):
                await world.save(user, edit)
        return await world.commit(user, policy=ConflictPolicy.KEEP_MINE, allow_partial=partial)

    async def revert() -> Any:
        changes = [each for each in await world.all() if each.version]
        if not changes:
            return None
        target = dice.choice([ChangeRef(COLLECTION, each.record_id, each.version) for each in changes])
        commits = [each.commit_id for each in changes if each.commit_id]
        return await world.revert(dice.choice([target, *commits[-2:]]), ConflictPolicy.KEEP_MINE, allow_partial=partial)

    steps: list[Callable[[], Awaitable[Any]]] = [
        lambda: world.content.create(world.actor(user), new, change_reason="", validate_only=False),
        lambda: world.patches.patch(world.actor(user), patch(dice), change_reason="", validate_only=False),
        lambda: world.patch_all(patches, partial=partial),
        lambda: world.delete(record_id),
        lambda: world.delete(record_id),
        lambda: world.undelete(record_id),
        lambda: world.load(imported, mode),
        commit,
        revert,
    ]
    return await dice.choice(steps)()


@settings(max_examples=examples(3))
@given(seed=st.integers(0, 10**9))
async def test_no_write_leaves_a_reference_without_a_record(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    world = LoggedWorld(database, f"checked-{seed}-{dice.random()}")
    await declared(world)
    refused = 0
    for _ in range(60):
        try:
            await write(world, dice, "ada")
        except (ReferenceNotFoundError, RecordReferencedError):
            refused += 1
        except DraftlineError:
            pass
        assert await dangling(world) == set()
    assert refused


@pytest.mark.parametrize("is_partial", [True, False], ids=["in place", "fetched"])
async def test_no_concurrent_writes_leave_a_reference_without_a_record(
    database: Database, tenant_id: str, is_partial: bool
) -> None:
    world = LoggedWorld(database, tenant_id, partial_updates=is_partial)
    await declared(world)
    for record_id in IDS:
        await world.create(record_id, {})
    outcomes: list[type] = []

    async def worker(number: int) -> None:
        dice = random.Random(number)
        for _ in range(15):
            try:
                await write(world, dice, f"user{number}")
            except DraftlineError as error:
                outcomes.append(type(error))

    for turn in range(20):  # until writes of both kinds were refused
        await asyncio.gather(*(worker(4 * turn + number) for number in range(4)))
        assert await dangling(world) == set()
        if {ReferenceNotFoundError, RecordReferencedError} <= set(outcomes):
            break
    assert {ReferenceNotFoundError, RecordReferencedError} <= set(outcomes)


NAMING: dict[str, Callable[[World], Awaitable[Any]]] = {
    "a creation": lambda world: world.create("new", {"maker": "b"}),
    "a patch": lambda world: world.patch("a", {"maker": "b"}),
    "a batch": lambda world: world.patch_all([Patch(COLLECTION, "a", Delta('{"maker": "b"}', Strategy.DEEP))]),
    "an undeletion": lambda world: world.undelete("gone"),
    "a commit": lambda world: world.commit("ada"),
}
DELETING: dict[str, Callable[[World], Awaitable[Any]]] = {
    "a deletion": lambda world: world.delete("b"),
    "a commit": lambda world: world.commit("bob"),
    "a snapshot": lambda world: world.load({"a": {}}, ImportMode.SNAPSHOT),
}


async def two_records(races: Races) -> None:
    await races.world.create("b", {})
    await declared(races.world)
    await races.world.create("a", {})
    await races.world.create("gone", {"maker": "b"})
    await races.world.delete("gone")
    await races.world.save("ada", change("a", {"maker": "b"}))
    await races.world.save("bob", deletion("b"))
    await races.holding.specs.load("t", [COLLECTION])


@pytest.mark.parametrize("name", list(NAMING))
async def test_deletion_waits_for_a_write_that_names_the_record(races: Races, name: str) -> None:
    await two_records(races)
    async with races.behind(NAMING[name](races.holding)):
        deletion = await races.waiting(races.world.delete("b"))
    with pytest.raises(RecordReferencedError):
        await deletion
    assert await dangling(races.world) == set()


@pytest.mark.parametrize("name", list(DELETING))
async def test_write_waits_for_a_deletion_of_the_record_that_it_names(races: Races, name: str) -> None:
    await two_records(races)
    writes = NAMING if name == "a deletion" else {"a creation": NAMING["a creation"]}
    if name == "a snapshot":  # which runs in no transaction that the test can hold
        async with races.behind(NAMING["a creation"](races.holding)):
            snapshot = await races.waiting(DELETING[name](races.world))
        with pytest.raises(RecordReferencedError):
            await snapshot
        return
    async with races.behind(DELETING[name](races.holding)):
        waiting = [await races.waiting(each(races.world)) for each in writes.values()]
    for each in waiting:
        outcome = (await asyncio.gather(each, return_exceptions=True))[0]
        error = outcome[0].error if isinstance(outcome, list) else outcome
        assert isinstance(error, ReferenceNotFoundError), (name, outcome)
    assert await dangling(races.world) == set()


@pytest.mark.parametrize("is_deleted", [False, True], ids=["live", "deleted"])
async def test_batch_locks_its_records_in_primary_key_order_whichever_name_others(
    races: Races, is_deleted: bool
) -> None:
    await two_records(races)
    for record_id in ("r-1", "r-2"):
        await races.world.create(record_id, {})
    plain, naming, other = (
        Patch(collection, record_id, Delta(text, Strategy.DEEP), allow_missing=True)
        for collection, record_id, text in (
            (COLLECTION, "r-1", '{"n": 1}'), (COLLECTION, "r-2", '{"maker": "b"}'), ("others", "r", '{"n": 1}'),
        )
    )  # fmt: skip
    await races.world.patch_all([other])
    if is_deleted:
        await races.world.delete("r-1")
    async with races.behind(races.holding.undelete("r-1") if is_deleted else races.holding.patch_all([plain])):
        batch = await races.waiting(races.world.patch_all([naming, other, plain]))
        await races.connection.execute(
            "SELECT FROM draftline.record WHERE tenant_id = 't' AND record_id = 'r-2' FOR UPDATE NOWAIT"
        )
    assert [result.error for result in await batch] == [None, None, None]


async def test_process_with_an_outdated_spec_checks_references_and_deletions(
    database: Database, tenant_id: str
) -> None:
    outdated = [World(database, tenant_id) for _ in range(3)]
    for world in outdated:
        await world.create(str(id(world)), {})
    await outdated[0].create("b", {})
    await outdated[0].save("ada", deletion("b"))
    await declared(World(database, tenant_id))
    with pytest.raises(ReferenceNotFoundError):
        await outdated[0].patch(str(id(outdated[0])), {"maker": "none"})
    await outdated[0].patch(str(id(outdated[0])), {"maker": "b"})
    for work in (outdated[1].delete("b"), outdated[2].commit("ada")):
        with pytest.raises(RecordReferencedError):
            await work
    await World(database, tenant_id).declare(relations="[]")
    (result,) = await outdated[0].patch_all([Patch(COLLECTION, "b", Delta('{"maker": "none"}', Strategy.DEEP))])
    assert result.error is None


async def test_references_from_before_the_check_stay_and_are_counted(world: World) -> None:
    await world.create("a", {"maker": "none", "all": {"crew": ["none", "b", "gone"]}})
    await world.create("b", {"maker": "b"})
    await declared(world)
    found = await count_dangling(world.database, world.tenant_id, COLLECTION)
    assert {name: (each.count, each.record_ids) for name, each in found.items()} == {
        "maker": (1, ["a"]), "crew": (2, ["a"]),
    }  # fmt: skip
    checker = ReferenceChecker(world.database)
    listed = [each async for each in checker.differences() if each.tenant_id == world.tenant_id]
    assert sorted((each.relation, each.record_id, each.related_id) for each in listed) == [
        ("crew", "a", "gone"), ("crew", "a", "none"), ("maker", "a", "none"),
    ]  # fmt: skip
    await world.patch("a", {"n": 1})
    await world.patch("a", {"all": {"crew": ["b", "gone"]}})
    await world.save("ada", change("a", {"n": 2}))
    await world.commit("ada")
    await world.load({"a": {"maker": "none", "all": {"crew": ["gone"]}}})
    with pytest.raises(ReferenceNotFoundError, match="names 'new' at /all/crew, which relation 'crew'"):
        await world.patch("a", {"all": {"crew": ["gone", "new"]}})


async def test_write_is_checked_as_a_whole(world: World) -> None:
    await declared(world)
    await world.load({"a": {"maker": "b"}, "b": {"maker": "a"}})
    with pytest.raises(RecordReferencedError, match=r"'b' cannot be deleted: relation 'maker' .* names it, in 'a';"):
        await world.delete("b")
    await world.save_all("ada", [deletion("a"), deletion("b"), creation("c", {"maker": "d"}), creation("d", {})])
    await world.commit("ada")
    await world.save_all(
        "ada", [creation("e", {"maker": "f"}), creation("f", {"maker": "none"}), change("c", {"n": 1})]
    )
    with pytest.raises(ReferenceNotFoundError, match="'f' names 'none'"):
        await world.commit("ada", validate_only=True)
    results = await world.commit("ada", allow_partial=True)
    errors = {each.record_id: type(each.error) for each in results}
    assert errors == {"c": type(None), "e": ReferenceNotFoundError, "f": ReferenceNotFoundError}
    assert await dangling(world) == set()
    with pytest.raises(ReferenceNotFoundError, match=r"records\[1\]: .*names 'none'"):
        await world.load({"c": {}, "x": {"maker": "none"}})
    with pytest.raises(RecordReferencedError):
        await world.load({"c": {"maker": "d"}}, ImportMode.SNAPSHOT)
    await world.commit("ada", of_records("e", "f"), allow_partial=True)


async def test_referring_records_are_found_by_the_index(world: World) -> None:
    await declared(world)
    await world.create("b", {})
    values: dict[str, object] = {
        "tenant_id": world.tenant_id, "deleted_collections": [COLLECTION], "deleted_ids": ["b"], "limit": 11,
    }  # fmt: skip
    async with world.database.transaction() as transaction:
        plan, _ = await explained(transaction.connection, SQL["referring_records"], values)
    scans = [node for node in nodes(plan) if node.get("Relation Name") == "order_entry"]
    assert scans
    assert all("(key = " in node["Index Cond"] and "order_id = " in node["Index Cond"] for node in scans)


NAMING_BATCH = (
    Patch(COLLECTION, "a", Delta('{"maker": "b"}', Strategy.DEEP)),
    Patch(COLLECTION, "0", Delta('{"n": 1}', Strategy.DEEP)),
)
LOCKING: dict[str, Callable[[Races], Awaitable[Any]]] = {
    "a batch": lambda races: races.world.patch_all(NAMING_BATCH),
    "a batch that creates": lambda races: races.world.patch_all(creating(NAMING_BATCH)),
    "a batch, fetched": lambda races: races.replacing.patch_all(NAMING_BATCH),
    "a batch that creates, fetched": lambda races: races.replacing.patch_all(creating(NAMING_BATCH)),
    "a commit": lambda races: races.world.commit("ada", of_records("0", "a"), allow_partial=True),
}


def creating(patches: Sequence[Patch]) -> list[Patch]:
    return [replace(patch, allow_missing=True) for patch in patches]


@pytest.mark.parametrize("write", LOCKING)
async def test_write_that_holds_locks_waits_for_no_record_that_is_created_meanwhile(
    races: Races, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    """Once the write has locked its records, another one is created, and who locks it waits for one of them."""
    await two_records(races)
    for world in (races.world, races.replacing):
        await world.specs.load("t", [COLLECTION])
    await races.world.save("ada", creation("0", {"n": 1}))
    fetch, waiting = Transaction.fetch, list[asyncio.Task[Any]]()

    async def hold(locked: asyncio.Event) -> None:
        await races.connection.execute(
            "INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by, "
            "updated_at, updated_by) SELECT tenant_id, collection, '0', content, version, created_at, created_by, "
            "updated_at, updated_by FROM draftline.record WHERE tenant_id = 't' AND record_id = 'b'"
        )
        async with races.connection.transaction():
            await races.connection.execute("SET LOCAL deadlock_timeout = '10ms'")  # so that a deadlock fails this one
            for record_id in ("0", "a"):
                await races.connection.execute(
                    "SELECT FROM draftline.record WHERE tenant_id = 't' AND record_id = $1 FOR UPDATE", record_id
                )
                locked.set()

    async def fetch_and_hold(transaction: Transaction, statement: Statement, values: Any) -> Any:
        rows = await fetch(transaction, statement, values)
        if statement.name in ("lock_named", "lock_drafts") and not waiting:
            locked = asyncio.Event()
            waiting.append(asyncio.create_task(hold(locked)))
            await locked.wait()
        return rows

    monkeypatch.setattr(Transaction, "fetch", fetch_and_hold)
    results = await LOCKING[write](races)
    await waiting[0]
    assert results[write == "a commit"].error is None
