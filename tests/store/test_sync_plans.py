"""Pushes and pulls read the rows of their records, whatever the planner knows of the tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import asyncpg
import pytest
from draftline_server.domain.merged import MergedQuery
from draftline_server.domain.sync import Effect, Settlement
from draftline_server.store.sync import attempts as attempts_module
from draftline_server.store.sync import progress as progress_module
from draftline_server.store.sync.commits import SyncCommits
from support.sync_worlds import SyncWorld, answer
from support.tenant_stores import COLLECTION, change, connected

from .test_unknown_sizes import FLUSH, READ

T = TypeVar("T")
OTHERS = 1_500  # records that are not pushed
PUSHED = 30
READS = 40  # of a pushed record, in all tables and indexes


@asynccontextmanager
async def observing(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def linked(world: SyncWorld) -> None:
    found = [part async for part in world.worker.progress.linked(COLLECTION, await world.worker._merges.mark())]
    assert sum(map(len, found)) > OTHERS


async def rows_read(observer: asyncpg.Connection) -> int:
    return int(await observer.fetchval(READ))


@pytest.mark.parametrize("known", ["planned late", "planned when empty", "analyzed when empty"])
async def test_sync_reads_the_rows_of_its_records_whatever_the_planner_knows(
    database_url: str, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mark, prepare, settle and merge by key, although the tables were analyzed when they were empty, or never."""
    async with connected(database_url, size=1) as database, observing(database_url) as observer:
        world = SyncWorld(database, "acme")
        world.system.capabilities = replace(world.system.capabilities, returns_stored=True)
        await world.bind()
        if known == "planned when empty":
            await world.create("first", {"n": 0})
            await world.push()
        elif known == "analyzed when empty":
            await observer.execute("VACUUM ANALYZE")
        for index in range(OTHERS):
            world.system.insert({"n": index}, f"r{index:04}")
        world.system.page = OTHERS
        await world.pull(snapshot=True)
        read: dict[str, int] = {}

        async def counted(name: str, work: Awaitable[T]) -> T:
            await database.fetch(FLUSH, {})
            before = await rows_read(observer)
            result = await work
            await database.fetch(FLUSH, {})
            read[name] = await rows_read(observer) - before
            return result

        due = [f"r{index:04}" for index in range(PUSHED)]
        await counted("merge of equal versions", world.merge(*(answer(each, {"n": 1}, 1) for each in due)))
        await counted("merge", world.merge(*(answer(each, {"n": -1}, 2) for each in due)))
        await counted("merge of new records", world.merge(*(answer(f"new-{each}", {"n": 1}, 1) for each in due)))
        for record_id in due:
            await world.patch(record_id, {"n": -2})
        attempts = world.worker._attempts
        await counted("mark", attempts.mark(COLLECTION, due))
        sent = await counted("prepare", attempts.prepare(world.bound, due, 60.0))
        outcomes = [Settlement(each.record_id, each.attempt_id, Effect.APPLIED, each.remote_id, "3") for each in sent]
        settled = database.transact(lambda each: attempts.settle(each, COLLECTION, outcomes, is_versioned=True))
        await counted("settle", settled)
        await world.save_all("ada", [change(each, {"n": -3}) for each in due])
        await world.commit("ada")
        commits = SyncCommits(database, attempts)
        (waiting,) = await counted("waiting", commits.waiting(COLLECTION, due[:5], PUSHED))
        await counted("hasten", commits.hasten(COLLECTION, due))
        await world.specs.load("acme", [COLLECTION])
        page = await counted("page", world.merged.page(world.actor("ada"), MergedQuery(COLLECTION), PUSHED, ""))
        for module, name in ((attempts_module, "SWEPT"), (progress_module, "LINKED")):
            monkeypatch.setattr(module, name, PUSHED)
        await counted("sweep", attempts.sweep(COLLECTION))
        await counted("linked", linked(world))
    assert all(each.sync is not None for each in page.records)
    assert max(read.pop("sweep"), read.pop("linked")) < 10 * OTHERS  # of many parts, each of a part of the records
    assert waiting.record_ids == set(due)
    assert [each.user_id for each in sent] == ["sys"] * PUSHED
    assert read["settle"] < 15 * PUSHED, read  # each record once, and not all for each
    assert max(read.values()) < READS * PUSHED, read
