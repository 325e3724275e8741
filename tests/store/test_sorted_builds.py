"""Builds that sort the entries of many records and add them without locking the records."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from draftline_server.domain.edits import Strategy
from draftline_server.domain.errors import DatabaseUnavailableError
from draftline_server.domain.records import Delta, Patch
from draftline_server.store.collections import sorted_build
from draftline_server.store.collections.order_entries import OrderEntries
from draftline_server.store.collections.sorted_build import SortedBuild
from draftline_server.store.database import Database
from draftline_server.store.entry_integrity import EntryChecker
from draftline_server.store.statements import Statement
from support.entry_checks import entry_count, order_states, wrong_entries
from support.races import Races
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, World

from .test_order_entries import declared, progress, purge, random_writes


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_build, "RANGE_ENTRIES", 20)  # of 4 records with 5 orders
    monkeypatch.setattr(sorted_build, "PART", 3)
    monkeypatch.setattr(sorted_build, "VERIFIED_AT_ONCE", 2)


@asynccontextmanager
async def building(world: World) -> AsyncIterator[SortedBuild]:
    """A sorted build of the world's collection, which does a step at a time."""
    async with world.database.dedicated_connection() as connection:
        build = OrderEntries(world.database)._sorted_build(connection, world.tenant_id, COLLECTION)
        assert await build.lock()
        yield build
        await build.unlock()


async def test_entries_are_right_after_concurrent_writes_and_a_sorted_build_among_them(
    database: Database, tenant_id: str
) -> None:
    worlds = [LoggedWorld(database, tenant_id, partial_updates=number % 3 > 0) for number in range(4)]
    await random_writes(worlds[0], random.Random(98), 20)
    writers = [
        asyncio.create_task(random_writes(world, random.Random(number), 40)) for number, world in enumerate(worlds)
    ]
    await declared(worlds[0])
    await OrderEntries(database, many=0).build(tenant_id, COLLECTION)
    assert set(await order_states(database, tenant_id)) == {"READY"}
    assert sum(await asyncio.gather(*writers)) > 30
    assert await wrong_entries(database, tenant_id) == []
    assert await worlds[0].differences() == []


async def test_entry_that_a_running_write_cannot_see_is_removed(races: Races) -> None:
    world = races.world
    for record_id in ("1", "2"):
        await world.create(record_id, {"en": 1})
    await declared(world)
    patch = Patch(COLLECTION, "1", Delta('{"en": 2}', Strategy.SHALLOW))
    async with building(world) as build:
        async with races.behind(races.holding.patch_all([patch])):
            assert await build.step()  # adds the entry of the content that the patch replaces, and does not wait
            assert await entry_count(world.database, world.tenant_id) == 2 * 5
            verifying = asyncio.create_task(build.step())
        assert await verifying
        assert await wrong_entries(world.database, world.tenant_id) == []
        assert not await build.step()
    await OrderEntries(world.database).build(world.tenant_id, COLLECTION)
    assert set(await order_states(world.database, world.tenant_id)) == {"READY"}


async def test_sorted_build_that_was_interrupted_goes_on_where_it_ended(
    world: LoggedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.load({f"r{number:02d}": {"en": number, "ea": f"{number}"} for number in range(10)})
    await declared(world)
    added = SortedBuild._add
    calls = 0

    async def failing(self: SortedBuild, *arguments: Any, **named: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 8:  # in the second range, after entries of two orders
            raise ConnectionError
        return await added(self, *arguments, **named)

    monkeypatch.setattr(SortedBuild, "_add", failing)
    with pytest.raises(DatabaseUnavailableError):
        await OrderEntries(world.database, many=0).build(world.tenant_id, COLLECTION)
    assert (4, 0) in await progress(world)  # relations have no sorted build
    await world.patch("r05", {"en": 50})  # leaves the entries of the interrupted range as they are
    await world.delete("r06")
    await purge(world, "r06")
    await OrderEntries(world.database).build(world.tenant_id, COLLECTION)  # with few records left, too
    assert set(await order_states(world.database, world.tenant_id)) == {"READY"}
    assert await wrong_entries(world.database, world.tenant_id) == []


async def test_wrong_entries_of_changed_records_are_found_by_the_verification(world: LoggedWorld) -> None:
    """The entries of records that are changed, deleted, purged, or created again after that."""
    await world.load({f"r{number}": {"en": number} for number in range(4)})
    await declared(world)
    stale = await wrong_entries(world.database, world.tenant_id)  # all are missing
    await world.patch("r0", {"en": 9})
    await world.delete("r1")
    await world.delete("r2")
    await purge(world, "r2")
    await world.delete("r3")
    await purge(world, "r3")
    await world.create("r3", {"en": 33})
    add = """INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"""
    async with building(world) as build:
        assert await build.step()
        for _, _, collection, order_id, key, record_id in stale:
            values = (world.tenant_id, collection, order_id, key, record_id)
            await world.database.fetch(
                Statement("add", add, ("1", "2", "3", "4", "5")), dict(zip("12345", values, strict=True))
            )
        assert await wrong_entries(world.database, world.tenant_id) != []
        checker = EntryChecker(world.database)
        reported = [each async for each in checker.differences() if each.tenant_id == world.tenant_id]
        assert reported == []  # because the build verifies them
        assert await build.step()
        assert await wrong_entries(world.database, world.tenant_id) == []


async def test_two_sorted_builds_of_a_collection_never_run_at_once(world: LoggedWorld) -> None:
    async with building(world), world.database.dedicated_connection() as other:
        assert not await OrderEntries(world.database)._sorted_build(other, world.tenant_id, COLLECTION).lock()


async def test_sorted_build_adds_entries_that_a_write_has_added_meanwhile(
    world: LoggedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adds those of a record that was changed and changed back while its entries were sorted."""
    await world.load({"r1": {"en": 1}, "r2": {"en": 2}})
    await declared(world)
    added = SortedBuild._add_all

    async def after_two_writes(self: SortedBuild, *arguments: Any) -> bool:
        await world.patch("r1", {"en": 9})
        await world.patch("r1", {"en": 1})
        return await added(self, *arguments)

    async with building(world) as build:
        monkeypatch.setattr(SortedBuild, "_add_all", after_two_writes)
        assert await build.step()
        assert await build.step()
        assert await wrong_entries(world.database, world.tenant_id) == []
