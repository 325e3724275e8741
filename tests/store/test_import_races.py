"""An import whose records are written by others between its statements."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from draftline_server.domain.records import ImportMode, NewRecord
from draftline_server.store.transaction import Transaction
from support.tenant_stores import COLLECTION, World, connected

LOG = "SELECT array_agg(version ORDER BY change_id) FROM draftline.change WHERE tenant_id = $1 AND kind <> 'DRAFT'"
REBUILT = "SELECT draftline.content_at($1, $2, '1', 1)::text"


@pytest.fixture
async def world(database_url: str, tenant_id: str) -> AsyncIterator[World]:
    async with connected(database_url) as database:
        yield World(database, tenant_id)


async def load(world: World, monkeypatch: pytest.MonkeyPatch, writes: dict[str, dict[str, int]]) -> None:
    """Imports what record 1 holds already; others write it before the statements that `writes` names."""
    fetch = Transaction.fetch

    async def interrupted(self: Transaction, statement: Any, values: dict[str, object]) -> Any:
        delta = writes.pop(statement.name, None)
        if delta is not None:
            await world.patch("1", delta)
        return await fetch(self, statement, values)

    async def chunks() -> AsyncIterator[list[NewRecord]]:
        yield [NewRecord(COLLECTION, "1", '{"n": 0}')]

    monkeypatch.setattr(Transaction, "fetch", interrupted)
    async with world.imports.load(
        world.actor("sys"), COLLECTION, chunks(), ImportMode.UPSERT, allow_empty=False, change_reason=""
    ):
        pass
    assert not writes


async def test_record_that_others_write_before_it_is_logged_has_one_change_a_version(
    world: World, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not locked, for it was what the import brings; then the import locks it, and begins again."""
    await world.create("1", {"n": 0})
    await load(world, monkeypatch, {"log_imported": {"n": 1}})
    assert await connection.fetchval(LOG, world.tenant_id) == [1, 2, 3]
    assert await connection.fetchval(REBUILT, world.tenant_id, COLLECTION) == '{"n": 0}'
    assert json.loads((await world.record("1")).content) == {"n": 0}


async def test_record_that_others_write_after_it_was_found_the_same_is_theirs(
    world: World, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.create("1", {"n": 0})
    await load(world, monkeypatch, {"upsert_imported": {"n": 1}})
    assert await connection.fetchval(LOG, world.tenant_id) == [1, 2]
    assert json.loads((await world.record("1")).content) == {"n": 1}
