"""The kept merge while calls run at once: each race is made to happen, by calls that stop before they commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from draftline_server.domain.edits import Strategy
from draftline_server.domain.records import Delta, ImportMode, Patch
from support.races import Races
from support.tenant_stores import COLLECTION, World, change, deletion


def batch(world: World, delta: str) -> Awaitable[Any]:
    """Two patches, so that they run in a transaction."""
    patches = [Patch(COLLECTION, record_id, Delta(delta, Strategy.SHALLOW)) for record_id in ("1", "2")]
    return world.patch_all(patches)


async def two_records(world: World) -> None:
    await world.create("1", {"a": 1})
    await world.create("2", {"a": 1})


WRITES: dict[str, Callable[[Races], Awaitable[Any]]] = {
    "a patch": lambda races: races.world.patch("1", {"b": 2}),
    "a replacing patch": lambda races: races.replacing.patch("1", {"b": 2}),
    "a batch": lambda races: batch(races.world, '{"b": 2}'),
    "an import": lambda races: races.world.load({"1": {"a": 1, "b": 2}}),
    "a snapshot": lambda races: races.world.load({"1": {"a": 1, "b": 2}}, ImportMode.SNAPSHOT),
    "a commit": lambda races: races.world.commit("bob"),
}


@pytest.mark.parametrize("name", list(WRITES))
@pytest.mark.parametrize("edit", [change("1", {"c": 3}), deletion("1")], ids=["change", "deletion"])
async def test_write_that_waits_for_a_save_refreshes_the_draft_that_was_saved(
    races: Races, name: str, edit: Any
) -> None:
    await two_records(races.world)
    await races.world.save("bob", change("1", {"b": 2}))
    async with races.behind(races.holding.save("ada", edit)):
        # Its snapshot is older than the draft: it looks for drafts anew once it has the record.
        write = await races.waiting(WRITES[name](races))
        assert await races.world.draft("ada", "1") is None
    await write
    draft = await races.world.draft("ada", "1")
    assert draft is not None
    assert draft["merged"] == {"a": 1, "b": 2, **({"c": 3} if draft["kind"] == "CHANGE" else {})}
    assert await races.world.differences() == []


HELD: dict[str, Callable[[Races], Awaitable[Any]]] = {
    "a batch": lambda races: batch(races.holding, '{"b": 2}'),
    "a commit": lambda races: races.holding.commit("bob"),
}


@pytest.mark.parametrize("name", list(HELD))
@pytest.mark.parametrize("has_draft", [False, True])
async def test_save_that_waits_for_a_write_is_merged_with_what_was_written(
    races: Races, name: str, has_draft: bool
) -> None:
    await two_records(races.world)
    await races.world.save("bob", change("1", {"b": 2}))
    if has_draft:
        await races.world.save("ada", change("1", {"d": 4}))
    async with races.behind(HELD[name](races)):
        save = await races.waiting(races.world.save("ada", change("1", {"c": 3})))
    saved = await save
    draft = await races.world.draft("ada", "1")
    assert draft is not None
    assert draft["merged"] == {"a": 1, "b": 2, "c": 3, **({"d": 4} if has_draft else {})}
    assert saved.draft_version == draft["version"] == 1 + has_draft
    assert await races.world.differences() == []


@pytest.mark.parametrize("count", [1, 100])
async def test_save_locks_no_draft_before_it_has_its_records(races: Races, count: int) -> None:
    # A write has the records locked when it comes for their drafts: the other way round would be a deadlock.
    record_ids = [f"{place:03}" for place in range(count)]
    await races.world.load({record_id: {"a": 1} for record_id in record_ids})
    edits = [change(record_id, {"b": 2}) for record_id in record_ids]
    await races.world.save_all("ada", edits)
    await races.connection.execute("ANALYZE draftline.draft, draftline.record")
    transaction = races.connection.transaction()
    await transaction.start()
    await races.connection.fetch("SELECT FROM draftline.record WHERE record_id = $1 FOR UPDATE", record_ids[-1])
    save = await races.waiting(races.world.save_all("ada", edits))
    await races.connection.fetch("SELECT FROM draftline.draft FOR UPDATE NOWAIT")
    await transaction.rollback()
    assert [result.merged is not None and result.merged.draft_version for result in await save] == [2] * count


async def test_drafts_saved_at_once_by_one_user_are_composed(races: Races) -> None:
    await two_records(races.world)
    await races.world.save("ada", change("1", {"z": 0}))
    await asyncio.gather(*(races.world.save("ada", change("1", {f"k{place}": place})) for place in range(10)))
    draft = await races.world.draft("ada", "1")
    assert draft is not None
    assert draft["version"] == 11
    assert draft["merged"] == {"a": 1, "z": 0, **{f"k{place}": place for place in range(10)}}


async def test_first_drafts_saved_at_once_by_one_user_are_composed(races: Races) -> None:
    await two_records(races.world)
    async with races.behind(races.holding.save("ada", change("1", {"b": 1}))):
        save = await races.waiting(races.world.save("ada", change("1", {"c": 1})))
    saved = await save
    assert saved.draft_version == 2
    draft = await races.world.draft("ada", "1")
    assert draft is not None
    assert draft["merged"] == {"a": 1, "b": 1, "c": 1}
