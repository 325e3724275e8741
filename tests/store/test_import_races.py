"""An import whose records are written by others between its statements."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from draftline_server.domain.errors import ContentionError
from draftline_server.domain.records import ImportedRecord, ImportMode, KeysOf
from draftline_server.store.transaction import Transaction
from support.tenant_stores import COLLECTION, World, connected

LOG = "SELECT array_agg(version ORDER BY change_id) FROM draftline.change WHERE tenant_id = $1 AND kind <> 'DRAFT'"
ADD_ORDER = """
INSERT INTO draftline.collection_order (tenant_id, collection, keys, fields, created_at)
VALUES ($1, $2, '[{"path": ["n"], "type": "NUMBER", "descending": false}]', '{n}', now())
"""
REBUILT = "SELECT draftline.content_at($1, $2, '1', 1)::text"


@pytest.fixture
async def world(database_url: str, tenant_id: str) -> AsyncIterator[World]:
    async with connected(database_url) as database:
        yield World(database, tenant_id)


Writes: TypeAlias = dict[str, Callable[[], Awaitable[None]]]


async def load(world: World, monkeypatch: pytest.MonkeyPatch, writes: Writes) -> None:
    """Import record 1 with 0 for `n`; others write before the statements that `writes` names."""
    fetch = Transaction.fetch

    async def interrupted(self: Transaction, statement: Any, values: dict[str, object]) -> Any:
        write = writes.pop(statement.name, None)
        if write is not None:
            await write()
        return await fetch(self, statement, values)

    async def chunks(keys_of: KeysOf) -> AsyncIterator[list[ImportedRecord]]:
        yield [ImportedRecord("1", '{"n": 0}', keys_of({"n": 0}))]

    monkeypatch.setattr(Transaction, "fetch", interrupted)
    async with world.imports.load(
        world.actor("sys"), COLLECTION, chunks, ImportMode.UPSERT, allow_empty=False, change_reason=""
    ):
        pass
    assert not writes


async def test_record_that_others_write_before_it_is_logged_has_one_change_a_version(
    world: World, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not locked, for it was what the import brings; then the import locks it, and begins again."""
    await world.create("1", {"n": 0})
    await load(world, monkeypatch, {"log_changed": lambda: world.patch("1", {"n": 1})})
    assert await connection.fetchval(LOG, world.tenant_id) == [1, 2, 3]
    assert await connection.fetchval(REBUILT, world.tenant_id, COLLECTION) == '{"n": 0}'
    assert json.loads((await world.record("1")).content) == {"n": 0}


async def test_record_that_others_write_after_it_was_found_the_same_is_theirs(
    world: World, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.create("1", {"n": 0})
    await load(world, monkeypatch, {"upsert_imported": lambda: world.patch("1", {"n": 1})})
    assert await connection.fetchval(LOG, world.tenant_id) == [1, 2]
    assert json.loads((await world.record("1")).content) == {"n": 1}


@pytest.mark.parametrize("statement", ["log_created", "log_changed", "upsert_imported"])
async def test_record_that_others_create_during_an_import_is_replaced(
    world: World, connection: Any, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    await load(world, monkeypatch, {statement: lambda: world.create("1", {"n": 1})})
    assert await connection.fetchval(LOG, world.tenant_id) == [1, 2]
    assert json.loads((await world.record("1")).content) == {"n": 0}


@pytest.mark.parametrize("statement", ["log_created", "log_changed", "upsert_imported"])
async def test_record_that_others_create_alike_during_an_import_is_unchanged(
    world: World, connection: Any, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    await load(world, monkeypatch, {statement: lambda: world.create("1", {"n": 0})})
    assert await connection.fetchval(LOG, world.tenant_id) == [1]


async def test_import_that_knows_not_all_orders_at_its_end_writes_nothing(
    world: World, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records would have no entries in the others."""

    async def add_order() -> None:
        await connection.execute(ADD_ORDER, world.tenant_id, COLLECTION)

    with pytest.raises(ContentionError):
        await load(world, monkeypatch, {"hold_declaration": add_order})
    assert await connection.fetchval(LOG, world.tenant_id) is None
