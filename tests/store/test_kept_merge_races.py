"""The kept merge while calls run at once: each race is made to happen, by calls that stop before they commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from draft_world import COLLECTION, World, change, connected, deletion
from draftline_server.domain.edits import Strategy
from draftline_server.domain.records import Delta, ImportMode, Patch
from draftline_server.store.engine import Database

BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND cardinality(pg_blocking_pids(pid)) > 0
"""


class Held(Database):
    """Stops each transaction when its work is done, until it is let go."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.worked = asyncio.Event()
        self.let_go = asyncio.Event()

    async def transact(self, work: Callable[..., Awaitable[Any]], **rest: Any) -> Any:
        async def held(transaction: Any) -> Any:
            result = await work(transaction)
            self.worked.set()
            await self.let_go.wait()
            return result

        return await super().transact(held, **rest)


class Races:
    """A database of the test's own, with a world whose calls are held, and one whose calls run."""

    def __init__(self, held: Held, free: Database, connection: asyncpg.Connection) -> None:
        self.held, self.connection = held, connection
        self.holding, self.world = World(held, "t"), World(free, "t")
        self.replacing = World(free, "t", partial_updates=False)

    @asynccontextmanager
    async def behind(self, first: Awaitable[Any]) -> AsyncIterator[None]:
        """The block runs while `first` has done its work and not committed; at its end `first` commits."""
        task = asyncio.ensure_future(first)
        worked = asyncio.ensure_future(self.held.worked.wait())
        await asyncio.wait([task, worked], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            worked.cancel()
            task.result()
        try:
            yield
        finally:
            self.held.let_go.set()
            await task

    async def waiting(self, call: Awaitable[Any]) -> asyncio.Future[Any]:
        """The call, once it waits for a lock."""
        task = asyncio.ensure_future(call)
        while not await self.connection.fetchval(BLOCKED):
            assert not task.done(), "it waits for nothing"
        return task


@pytest.fixture
async def races(database_url: str) -> AsyncIterator[Races]:
    held = Held(database_url)
    await held.open()
    connection = await asyncpg.connect(database_url)
    async with connected(database_url) as free:
        yield Races(held, free, connection)
    await connection.close()
    await held.close()


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
