"""The entries of orders: kept by every write, built in the background, and deleted when an order is dropped."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from draftline_server.domain.changes import ChangeRef
from draftline_server.domain.drafts import ConflictPolicy
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.errors import DraftlineError
from draftline_server.domain.records import Delta, ImportMode, Patch, Purge
from draftline_server.store.collections.order_entries import OrderEntries, _build_batch
from draftline_server.store.database import Database
from draftline_server.store.draft_integrity import DraftChecker
from draftline_server.store.driver_errors import RacedError, UnsettledError
from draftline_server.store.purges import PurgeStore
from draftline_server.store.statements import Statement, load
from draftline_server.store.transaction import Transaction
from support.entry_checks import entry_count, order_states, wrong_entries
from support.races import Races
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, World, change, connected, creation, deletion, operate

FIELDS = json.dumps([
    {"path": ["ea"], "type": "TEXT"},
    {"path": ["en"], "type": "NUMBER"},
    {"path": ["o", "ed"], "type": "DATE"},
])  # fmt: skip
ORDERS = json.dumps([
    [{"path": ["en"], "descending": True}, {"path": ["ea"], "descending": False}],
    [{"path": ["o", "ed"], "descending": False}, {"path": ["en"], "descending": False}],
])  # fmt: skip
RELATIONS = json.dumps([
    {"name": "one", "path": ["ea"], "collection": "films", "inverse": "ones"},
    {"name": "some", "path": ["o", "ids"], "collection": "films", "inverse": "somes"},
])  # fmt: skip
USERS = ("ada", "bob")
IDS = [f"r{number}" for number in range(8)]


async def declared(world: World) -> None:
    await world.declare(fields=FIELDS, orders=ORDERS, relations=RELATIONS)
    await world.specs.load(world.tenant_id, [COLLECTION])


def content(dice: random.Random) -> dict[str, Any]:
    """A content with values of the declared types, of others, and none."""
    values: dict[str, Any] = {
        "ea": dice.choice(["x", "y", "", "ü" * 3, 5, None]),
        "en": dice.choice([0, -1, 1.5, 10**30, "7", None]),
        "o": dice.choice(
            [{"ed": "2026-01-02", "ids": ["b", "a", "b"]}, {"ids": ["a", 5, ""]}, {"ids": "a"}, {"ed": "no"}, {}, 3]
        ),
        "u": dice.randrange(5),
    }
    return {name: value for name, value in values.items() if dice.random() < 0.8}


async def purge(world: World, record_id: str) -> None:
    purged = Purge(COLLECTION, (record_id,), None, 10, b"p", b"c")
    await world.write(
        "sys",
        lambda transaction: PurgeStore().purge(
            transaction, world.actor("sys"), purged, settle_by=0.0, change_reason=""
        ),
    )


def steps(world: LoggedWorld, dice: random.Random) -> list[Callable[[], Awaitable[Any]]]:
    """Every kind of write of one or some random records."""
    user, record_id, delta = dice.choice(USERS), dice.choice(IDS), content(dice)
    some = dice.sample(IDS, 3)
    upsert = Patch(
        COLLECTION, record_id, Delta(json.dumps(delta), Strategy.SHALLOW), allow_missing=True, allow_deleted=True
    )
    batch = [Patch(COLLECTION, each, Delta(json.dumps(content(dice)), Strategy.SHALLOW)) for each in some]
    rows = {each: content(dice) for each in some}
    return [
        lambda: world.create(record_id, delta),
        lambda: world.patch(record_id, delta, dice.choice(list(Strategy))),
        lambda: world.patch(record_id, {"u": dice.random()}),
        lambda: world.patches.patch(world.actor("sys"), upsert, change_reason="", validate_only=False),
        lambda: world.patch_all(batch, partial=True),
        lambda: world.delete(record_id),
        lambda: world.undelete(record_id),
        lambda: purge(world, record_id),
        lambda: world.load(rows),
        lambda: world.load({each: content(dice) for each in IDS[:6]}, ImportMode.SNAPSHOT),
        lambda: world.save(user, change(record_id, delta, allow_deleted=dice.random() < 0.3)),
        lambda: world.save(user, operate(record_id, Operation("add", ("en",), value=dice.randrange(9)))),
        lambda: world.save(user, creation(record_id, delta, replace=dice.random() < 0.5)),
        lambda: world.save(user, deletion(record_id)),
        lambda: world.discard(user),
        lambda: world.commit(user, policy=ConflictPolicy.KEEP_MINE, allow_partial=True),
        lambda: world.commit(user, policy=ConflictPolicy.KEEP_THEIRS, allow_partial=True),
        lambda: revert_one(world, record_id, dice),
    ]


async def revert_one(world: LoggedWorld, record_id: str, dice: random.Random) -> None:
    history = [each.version for each in await world.history(record_id)]
    if history:
        await world.revert(ChangeRef(COLLECTION, record_id, dice.choice(history)), ConflictPolicy.KEEP_MINE)


async def random_writes(world: LoggedWorld, dice: random.Random, count: int) -> int:
    """Do so many writes; return how many of them succeeded."""
    done = 0
    for _ in range(count):
        try:
            await dice.choice(steps(world, dice))()
            done += 1
        except (DraftlineError, RacedError, UnsettledError):
            pass
    return done


@pytest.mark.parametrize("partial_updates", [True, False], ids=["in place", "fetched"])
@pytest.mark.parametrize("seed", range(3))
async def test_entries_are_those_of_the_contents_after_any_writes(
    database: Database, tenant_id: str, seed: int, partial_updates: bool
) -> None:
    world, dice = LoggedWorld(database, tenant_id, partial_updates=partial_updates), random.Random(seed)
    await declared(world)
    done = 0
    for _ in range(12):
        done += await random_writes(world, dice, 10)
        assert await wrong_entries(database, tenant_id) == []
    assert done > 40
    assert await entry_count(database, tenant_id) > 0
    assert await world.differences() == []


async def test_entries_are_right_after_concurrent_writes_and_a_build_among_them(
    database: Database, tenant_id: str
) -> None:
    worlds = [LoggedWorld(database, tenant_id, partial_updates=number % 3 > 0) for number in range(5)]
    await random_writes(worlds[0], random.Random(99), 20)
    writers = [
        asyncio.create_task(random_writes(world, random.Random(number), 50)) for number, world in enumerate(worlds)
    ]
    await declared(worlds[0])
    await OrderEntries(database).build(tenant_id, COLLECTION)
    assert await order_states(database, tenant_id) == ["READY"] * 7
    assert sum(await asyncio.gather(*writers)) > 50
    assert await wrong_entries(database, tenant_id) == []
    assert await worlds[0].differences() == []


WAITING: dict[str, Callable[[Races], Awaitable[Any]]] = {
    "a patch": lambda races: races.world.patch("1", {"en": 3}),
    "a replacing patch": lambda races: races.replacing.patch("1", {"en": 3}),
    "a deletion": lambda races: races.world.delete("1"),
    "an import": lambda races: races.world.load({"1": {"en": 3}}),
    "a snapshot": lambda races: races.world.load({"2": {"en": 1}}, ImportMode.SNAPSHOT),
    "a commit": lambda races: races.world.commit("bob"),
}


@pytest.mark.parametrize("name", list(WAITING))
async def test_write_that_waits_for_another_removes_the_entry_that_the_other_has_made(races: Races, name: str) -> None:
    await declared(races.world)
    for record_id in ("1", "2"):
        await races.world.create(record_id, {"en": 1})
    await races.world.save("bob", change("1", {"en": 3}))
    await races.world.save("ada", change("1", {"ea": "x"}))
    patches = [
        Patch(COLLECTION, record_id, Delta('{"en": 2, "ea": "y"}', Strategy.SHALLOW)) for record_id in ("1", "2")
    ]
    async with races.behind(races.holding.patch_all(patches)):
        write = await races.waiting(WAITING[name](races))
    try:
        await write
    except DraftlineError:
        assert name == "a commit"  # the other has changed the same field
    assert await wrong_entries(races.world.database, races.world.tenant_id) == []


@pytest.mark.parametrize("is_declared", [True, False])
async def test_import_of_a_record_that_another_write_creates_replaces_it(races: Races, is_declared: bool) -> None:
    if is_declared:
        await declared(races.world)
    creation_of_it = Patch(COLLECTION, "1", Delta('{"en": 2, "u": 1}', Strategy.SHALLOW), allow_missing=True)
    async with races.behind(races.holding.patch_all([creation_of_it])):
        loading = await races.waiting(races.world.load({"0": {"en": 1}, "1": {"en": 2}, "2": {"en": 3}}))
    await loading
    assert await wrong_entries(races.world.database, races.world.tenant_id) == []
    records = [await races.world.record(record_id) for record_id in ("0", "1", "2")]
    assert [(json.loads(record.content), record.version) for record in records] == [
        ({"en": 1}, 1), ({"en": 2}, 2), ({"en": 3}, 1),
    ]  # fmt: skip


async def test_build_that_was_interrupted_goes_on_where_it_ended(world: LoggedWorld) -> None:
    await world.load({f"r{number:04d}": {"en": number} for number in range(100)})
    await world.save_all("ada", [change(f"r{number:04d}", {"en": -number}) for number in range(50)])
    await world.declare(fields=FIELDS)
    key: dict[str, object] = {"tenant_id": world.tenant_id, "collection": COLLECTION}
    for _ in range(2):  # two batches, and then the process ends
        await world.database.transact(lambda transaction: _build_batch(transaction, key, 30))
    assert await progress(world) == {(60, 0)}
    await world.patch("r0099", {"en": 5})
    await OrderEntries(world.database).build(world.tenant_id, COLLECTION)
    assert await order_states(world.database, world.tenant_id) == ["READY"] * 3
    assert await progress(world) == {(100, 50)}
    assert await wrong_entries(world.database, world.tenant_id) == []


async def progress(world: World) -> set[tuple[int, int]]:
    values: dict[str, object] = {"tenant_id": world.tenant_id, "collections": [COLLECTION]}
    rows = await world.database.fetch(load("orders")["get_orders"], values)
    return {(row["record_count"], row["draft_count"]) for row in rows}


async def test_build_waits_for_writes_that_do_not_know_the_order(races: Races) -> None:
    world = races.world
    await world.create("1", {"en": 1})
    async with races.behind(races.holding.patch_all([Patch(COLLECTION, "1", Delta('{"en": 2}', Strategy.SHALLOW))])):
        await declared(world)
        building = asyncio.create_task(OrderEntries(world.database).build(world.tenant_id, COLLECTION))
        await asyncio.sleep(0.2)
        assert await order_states(world.database, world.tenant_id) == ["BUILDING"] * 7
    await building
    assert await order_states(world.database, world.tenant_id) == ["READY"] * 7
    assert await wrong_entries(world.database, world.tenant_id) == []


async def test_dropped_order_is_kept_while_lists_may_read_it_and_then_deleted(world: LoggedWorld) -> None:
    await declared(world)
    await world.load({f"r{number}": {"en": number} for number in range(30)})
    await world.save("ada", change("r1", {"en": 7}))
    entries = OrderEntries(world.database)
    await entries.build(world.tenant_id, COLLECTION)
    await world.declare(fields='[{"path": ["ea"], "type": "TEXT"}]')
    await world.specs.load(world.tenant_id, [COLLECTION])
    await entries.delete_dropped(world.tenant_id, COLLECTION)
    assert sorted(await order_states(world.database, world.tenant_id)) == ["DROPPING"] * 6 + ["READY"]
    await world.patch("r2", {"en": 100})
    assert await wrong_entries(world.database, world.tenant_id) == []
    await OrderEntries(world.database, linger_s=0).delete_dropped(world.tenant_id, COLLECTION)
    assert await order_states(world.database, world.tenant_id) == ["READY"]
    assert await entry_count(world.database, world.tenant_id) == 31
    assert await wrong_entries(world.database, world.tenant_id) == []


async def test_patch_of_other_fields_touches_no_entry(world: LoggedWorld) -> None:
    await declared(world)
    await world.create("1", {"en": 1, "ea": "x"})
    rows = await xids(world)
    await world.patch("1", {"u": 1})
    assert await xids(world) == rows
    await world.patch("1", {"en": 2})
    assert await xids(world) != rows


async def xids(world: World) -> list[tuple[Any, ...]]:
    """The entries, and the transactions that wrote them."""
    sql = (
        "SELECT xmin::text AS xmin, xmax::text AS xmax, key FROM draftline.order_entry WHERE tenant_id = $1 ORDER BY 3"
    )
    return [tuple(row) for row in await world.database.fetch(Statement("xids", sql, ("t",)), {"t": world.tenant_id})]


async def test_repaired_draft_has_the_entries_of_its_new_merge(world: LoggedWorld) -> None:
    await declared(world)
    await world.create("1", {"en": 1})
    await world.save("ada", change("1", {"ea": "x"}))
    broken = "UPDATE draftline.draft SET merged = '{\"en\": 5}' WHERE tenant_id = $1"
    await world.database.fetch(Statement("break", broken, ("t",)), {"t": world.tenant_id})
    checker = DraftChecker(world.database)
    async for difference in checker.differences():
        if difference.tenant_id == world.tenant_id:
            assert await checker.repair(difference)
    assert await world.differences() == []


async def test_declaration_costs_patches_of_other_tenants_nothing(
    database_url: str, connection: asyncpg.Connection
) -> None:
    """A patch sends the same statements, which find and write the same rows, buffers and WAL.

    A third tenant has declared orders before, because an empty index has a page less.
    """
    # Without sequential scans, which find the rows of all tenants in tables as small as these.
    await connection.execute(f"ALTER DATABASE {urlsplit(database_url).path[1:]} SET enable_seqscan = off")
    async with connected(database_url, size=1) as opened:
        other, world, third = World(opened, "other"), World(opened, "t"), World(opened, "z")
        for each in (world, other, third):
            await each.load({f"r{number}": {"en": number, "ea": "x"} for number in range(50)})
        await declared(third)
        await OrderEntries(opened).build("z", COLLECTION)
        await connection.execute("VACUUM ANALYZE")  # plans go by it, whether autovacuum runs or not
        before = await patch_costs(opened, other)
        await declared(world)
        await OrderEntries(opened).build("t", COLLECTION)
        await connection.execute("VACUUM ANALYZE")
        assert await patch_costs(opened, other) == before
        assert before.rows["record"][UPDATED] == 1
        own = await patch_costs(opened, world)
        assert own.rows.keys() > before.rows.keys()
        assert own.buffers > before.buffers
        assert own.wal_records > before.wal_records


COLUMNS = ("seq_scan", "seq_tup_read", "idx_scan", "idx_tup_fetch", "n_tup_ins", "n_tup_upd", "n_tup_del")
UPDATED = COLUMNS.index("n_tup_upd")
TOUCHED = Statement(
    "touched",
    f"""
    SELECT t.relname::text AS name,
        array[{", ".join(f"coalesce(sum({name}), 0)::bigint" for name in COLUMNS)}] AS counts
    FROM pg_stat_xact_user_tables AS s JOIN pg_class AS t ON t.oid = coalesce(pg_partition_root(s.relid), s.relid)
    WHERE s.schemaname = 'draftline' GROUP BY t.relname
    """,
    (),
)


@dataclass(frozen=True, slots=True)
class PatchCosts:
    """The statements of a patch and, of its last one, the scans and rows by table, the buffers and the WAL."""

    statements: list[str]
    rows: dict[str, list[int]]
    buffers: int
    wal_records: int
    wal_bytes: int


async def patch_costs(database: Database, world: World) -> PatchCosts:
    captured: list[tuple[Statement, dict[str, object]]] = []
    fetch = database.fetch

    async def capturing(statement: Statement, values: dict[str, object], **options: Any) -> Any:
        captured.append((statement, values))
        return await fetch(statement, values, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database, "fetch", capturing)
        await world.patch("r1", {"en": 3}, Strategy.SHALLOW)
    statement, values = captured[-1]
    touched: dict[str, list[int]] = {}

    async def run(transaction: Transaction) -> None:
        transaction.mark_rollback_only()
        before = {row["name"]: row["counts"] for row in await transaction.fetch(TOUCHED, {})}
        await transaction.fetch(statement, {**values, "edits": [json.dumps({"en": 10})]})
        for name, counts in await transaction.fetch(TOUCHED, {}):
            earlier = before.get(name, [0] * len(COLUMNS))  # of transactions that were not reported yet
            touched[name] = [now - then for now, then in zip(counts, earlier, strict=True)]

    await database.transact(run)
    # The usual one of several: caches are empty at first, checkpoints and full pages add to single ones, and a page
    # that was cleaned up meanwhile takes less.
    efforts = [await effort_of(database, statement, {**values, "edits": [json.dumps({"en": 11})]}) for _ in range(8)]
    rows = {name: counts for name, counts in touched.items() if any(counts)}
    ((usual, _),) = Counter(efforts).most_common(1)
    return PatchCosts([each.name for each, _ in captured], rows, *usual)


async def effort_of(database: Database, statement: Statement, values: dict[str, object]) -> tuple[int, int, int]:
    """Return the buffers, the WAL records and the bytes of WAL of a statement, which is rolled back."""
    explain = replace(statement, sql=f"EXPLAIN (ANALYZE, BUFFERS, WAL, FORMAT JSON) {statement.sql}")

    async def run(transaction: Transaction) -> asyncpg.Record:
        transaction.mark_rollback_only()
        return (await transaction.fetch(explain, values))[0]

    (plan,) = json.loads((await database.transact(run))[0])
    top = plan["Plan"]
    return top["Shared Hit Blocks"] + top["Shared Read Blocks"], top["WAL Records"], top["WAL Bytes"]


async def test_patch_of_other_fields_is_a_heap_only_update(database_url: str) -> None:
    """It writes no index of records: no declared value is in one."""
    async with connected(database_url) as opened:
        world = World(opened, "t")
        await declared(world)
        await world.load({f"r{number}": {"en": number} for number in range(200)})
        await OrderEntries(opened).build("t", COLLECTION)
        for number in range(100):
            await world.patch(f"r{number}", {"u": number})
    connection = await asyncpg.connect(database_url)
    try:
        counts = """SELECT sum(n_tup_upd) AS n_tup_upd, sum(n_tup_hot_upd) AS n_tup_hot_upd
            FROM pg_stat_user_tables WHERE coalesce(pg_partition_root(relid), relid) = 'draftline.record'::regclass"""
        # The connections of the pool report what they did when they end.
        while (found := await connection.fetchrow(counts))["n_tup_upd"] < 100:
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            await asyncio.sleep(0.01)
        assert found["n_tup_hot_upd"] >= 80  # of the rest, the page was full
    finally:
        await connection.close()
