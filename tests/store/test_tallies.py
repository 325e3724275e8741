"""The tallies of statistics: kept exactly by every write, built while writers run, folded and deleted."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from draftline_server.domain.edits import Strategy
from draftline_server.domain.records import Delta, Patch
from draftline_server.store.collections.order_entries import OrderEntries
from draftline_server.store.collections.tallies import Tallies
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement, load
from support.races import Races
from support.soak_scale import length
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, World, change, creation, deletion

from .test_folded_patches import Hot, Sent
from .test_order_entries import FIELDS, random_writes

SQL = load("statistics")
SEEDS = length("TALLY_SEEDS", 1, soak=10)
STATISTICS = json.dumps([
    {"name": "text", "keys": [{"path": ["ea"], "type": "TEXT"}], "measures": [["en"]]},
    {"name": "day", "keys": [{"path": ["o", "ed"], "type": "DATE"}, {"path": ["ea"], "type": "TEXT"}],
     "measures": [["en"], ["en"]]},
    {"name": "number", "keys": [{"path": ["en"], "type": "NUMBER"}, {"path": ["o", "ed"], "type": "YEAR"}],
     "measures": []},
    {"name": "number range", "keys": [{"path": ["en"], "type": "NUMBER_RANGE"}, {"path": ["ea"], "type": "TEXT"}],
     "measures": [["en"]]},
    {"name": "date range", "keys": [{"path": ["o", "ed"], "type": "DATE_RANGE"}], "measures": [["en"]]},
])  # fmt: skip


async def declared(world: World, statistics: str = STATISTICS) -> None:
    await world.declare(fields=FIELDS, statistics=statistics)
    await world.specs.load(world.tenant_id, [COLLECTION])


def tallies_of(database: Database, **options: Any) -> Tallies:
    return Tallies(database, OrderEntries(database), **options)


async def statistics(world: World) -> list[Any]:
    values: dict[str, object] = {"tenant_id": world.tenant_id, "collections": [COLLECTION]}
    return list(await world.database.fetch(SQL["get_statistics"], values))


async def wrong_groups(world: World) -> list[Any]:
    """Return the groups of all statistics that are not what records and drafts contribute."""
    found = []
    for row in await statistics(world):
        values: dict[str, object] = {
            "tenant_id": world.tenant_id, "collection": COLLECTION, "statistic_id": row["statistic_id"], "limit": 100
        }  # fmt: skip
        found += [(row["name"], *each) for each in await world.database.fetch(SQL["check_statistic"], values)]
    return found


async def tally_rows(world: World) -> int:
    sql = "SELECT count(*) AS count FROM draftline.tally WHERE tenant_id = $1"
    return int((await world.database.fetch(Statement("count", sql, ("t",)), {"t": world.tenant_id}))[0]["count"])


@pytest.mark.parametrize("partial_updates", [True, False], ids=["in place", "fetched"])
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_tallies_are_exact_after_any_writes_and_folds(
    database: Database, tenant_id: str, seed: int, partial_updates: bool
) -> None:
    world, dice = LoggedWorld(database, tenant_id, partial_updates=partial_updates), random.Random(seed)
    tallies, done = tallies_of(database), 0
    for turn in range(14):
        done += await random_writes(world, dice, 10)
        if turn == 2:
            await declared(world)
            await tallies.build(tenant_id, COLLECTION)
            assert [row["state"] for row in await statistics(world)] == ["READY"] * 5
        assert await wrong_groups(world) == []
        if dice.random() < 0.4:
            for row in await statistics(world):
                await tallies.fold(tenant_id, COLLECTION, row["statistic_id"])
            assert await wrong_groups(world) == []
    assert done > 50
    assert await tally_rows(world) > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_tallies_are_exact_after_concurrent_writes_with_builds_and_folds_among_them(
    database: Database, tenant_id: str, seed: int
) -> None:
    worlds = [LoggedWorld(database, tenant_id, partial_updates=number % 3 > 0) for number in range(4)]
    tallies = tallies_of(database)
    await random_writes(worlds[0], random.Random(99), 20)
    writers = [
        asyncio.create_task(random_writes(world, random.Random(f"{seed}-{number}"), 60))
        for number, world in enumerate(worlds)
    ]
    while not all(writer.done() for writer in writers):
        await declared(worlds[0], "[]")
        await tallies.delete_dropped(tenant_id, COLLECTION)
        await declared(worlds[0])
        await tallies.build(tenant_id, COLLECTION)
        for _ in range(5):
            assert await wrong_groups(worlds[0]) == []
            for row in await statistics(worlds[0]):
                await tallies.fold(tenant_id, COLLECTION, row["statistic_id"])
    assert sum(await asyncio.gather(*writers)) > 60
    assert await wrong_groups(worlds[0]) == []


async def test_unread_field_and_equal_value_append_nothing(world: LoggedWorld) -> None:
    await declared(world)
    await world.create("1", {"ea": "x", "en": 1})
    await tallies_of(world.database).build(world.tenant_id, COLLECTION)
    rows = await tally_rows(world)
    await world.patch("1", {"u": 1})
    await world.save("ada", change("1", {"u": 2}))
    assert await tally_rows(world) == rows
    await world.patch("1", {"en": 2})
    assert await tally_rows(world) > rows


async def test_fold_leaves_one_row_for_each_group_with_records(world: LoggedWorld) -> None:
    await declared(world)
    await tallies_of(world.database).build(world.tenant_id, COLLECTION)
    for number in range(10):
        await world.create(str(number), {"ea": "x", "en": 1})
    await world.delete("0")
    await world.save("ada", creation("new", {"ea": "y"}))
    await world.save("ada", deletion("new"))
    await tallies_of(world.database).fold_all(limit=0)
    assert await tally_rows(world) == 3 + 2 * 5  # a range counts each value at five nodes
    assert await wrong_groups(world) == []


async def test_dropped_statistic_loses_its_tally(world: LoggedWorld) -> None:
    await declared(world)
    await world.create("1", {"ea": "x"})
    await tallies_of(world.database).build(world.tenant_id, COLLECTION)
    await declared(world, "[]")
    await world.create("2", {"ea": "x"})
    await tallies_of(world.database).delete_dropped(world.tenant_id, COLLECTION)
    assert await tally_rows(world) == 0
    assert await statistics(world) == []


async def test_wrong_tally_is_found_and_repaired(world: LoggedWorld) -> None:
    await declared(world)
    await world.create("1", {"ea": "x", "en": 1})
    await world.save("ada", change("1", {"en": 2}))
    tallies = tallies_of(world.database)
    await tallies.build(world.tenant_id, COLLECTION)
    broken = Statement("broken", "DELETE FROM draftline.tally WHERE tenant_id = $1 AND user_id = 'ada'", ("t",))
    await world.database.fetch(broken, {"t": world.tenant_id})
    found = [each for each in await tallies.differences() if each.tenant_id == world.tenant_id]
    assert {each.user_id for each in found} == {"ada"}
    for each in found:
        await tallies.repair(world.tenant_id, COLLECTION, each.statistic_id)
    assert await wrong_groups(world) == []


async def test_build_waits_for_writes_that_do_not_know_the_statistic(races: Races) -> None:
    world = races.world
    await world.create("1", {"en": 1})
    async with races.behind(races.holding.patch_all([Patch(COLLECTION, "1", Delta('{"en": 2}', Strategy.SHALLOW))])):
        await declared(world)
        building = asyncio.create_task(tallies_of(world.database).build(world.tenant_id, COLLECTION))
        await asyncio.sleep(0.2)
        assert {row["state"] for row in await statistics(world)} == {"BUILDING"}
    await building
    assert {row["state"] for row in await statistics(world)} == {"READY"}
    assert await wrong_groups(world) == []


async def test_discard_waits_for_a_write_of_its_record(races: Races) -> None:
    world = races.world
    await declared(world)
    await world.create("1", {"en": 1})
    await tallies_of(world.database).build(world.tenant_id, COLLECTION)
    await world.save("bob", change("1", {"ea": "x"}))
    async with races.behind(races.holding.patch_all([Patch(COLLECTION, "1", Delta('{"en": 2}', Strategy.SHALLOW))])):
        discard = await races.waiting(world.discard("bob"))
    await discard
    assert await wrong_groups(world) == []


async def test_patches_of_one_record_that_are_folded_are_tallied(database: Database) -> None:
    world = Hot(database)
    await declared(world)
    await tallies_of(database).build(world.tenant_id, COLLECTION)
    await world.create("1", {"ea": "x", "en": 0})
    await world.save("bob", change("1", {"u": 1}))
    deltas = [{"ea": "xy"[number % 2], "en": number} for number in range(12)]
    patches = [Patch(COLLECTION, "1", Delta(json.dumps(delta), Strategy.SHALLOW)) for delta in deltas]
    await asyncio.gather(*(world.send(Sent(patch)) for patch in patches))
    assert max(world.applier.folded) > 1
    assert await wrong_groups(world) == []
