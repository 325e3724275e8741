"""Pushes read the rows of their records, whatever the planner knows of the tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest
from draftline_server.domain.sync import Effect, Settlement
from support.sync_worlds import SyncWorld
from support.tenant_stores import COLLECTION, connected

from .test_unknown_sizes import FLUSH, READ

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


async def rows_read(observer: asyncpg.Connection) -> int:
    return int(await observer.fetchval(READ))


@pytest.mark.parametrize("is_read_first", [False, True], ids=["planned late", "planned when empty"])
async def test_push_reads_the_rows_of_its_records_whatever_the_planner_knows(
    database_url: str, is_read_first: bool
) -> None:
    """Prepare, settle and merge by key, although the tables were never analyzed."""
    async with connected(database_url, size=1) as database, observing(database_url) as observer:
        world = SyncWorld(database, "acme")
        world.system.capabilities = replace(world.system.capabilities, returns_stored=True)
        await world.bind()
        if is_read_first:
            await world.create("first", {"n": 0})
            await world.push()
        for index in range(OTHERS):
            world.system.insert({"n": index}, f"r{index:04}")
        world.system.page = OTHERS
        await world.pull(snapshot=True)
        due = [f"r{index:04}" for index in range(PUSHED)]
        for record_id in due:
            await world.patch(record_id, {"n": -1})
        attempts = world.worker._attempts
        await attempts.mark(COLLECTION, due)
        await database.fetch(FLUSH, {})
        before = await rows_read(observer)
        sent = await attempts.prepare(world.bound, due, 60.0)
        await database.fetch(FLUSH, {})
        prepared = await rows_read(observer) - before
        outcomes = [Settlement(each.record_id, each.attempt_id, Effect.APPLIED, each.remote_id, "2") for each in sent]
        await database.transact(lambda each: attempts.settle(each, COLLECTION, outcomes, is_versioned=True))
        await database.fetch(FLUSH, {})
        settled = await rows_read(observer) - before - prepared
    assert [each.user_id for each in sent] == ["sys"] * PUSHED
    assert max(prepared, settled) < READS * PUSHED, (prepared, settled)
