"""An import whose records are written by others between its statements."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from draft_world import COLLECTION, World, connected
from draftline_server.domain.records import ImportMode, NewRecord
from draftline_server.store.imports import SQL
from draftline_server.store.transaction import Transaction

LOG = "SELECT array_agg(version ORDER BY change_id) FROM draftline.change WHERE tenant_id = $1 AND kind <> 'DRAFT'"
REBUILT = "SELECT draftline.content_at($1, $2, '1', 1)::text"


class _Counts:
    def SerializeToString(self) -> bytes:  # noqa: N802  as protobuf names it
        return b""


@pytest.fixture
async def world(database_url: str, tenant_id: str) -> AsyncIterator[World]:
    async with connected(database_url) as database:
        yield World(database, tenant_id)


async def test_record_that_others_write_twice_meanwhile_has_one_change_a_version(
    world: World, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not locked, for it was what the import brings; it is not when it is logged, nor when it is written."""
    await world.create("1", {"n": 0})
    fetch, writes = Transaction.fetch, {SQL["log_imported"].sql: {"n": 1}, SQL["upsert_imported"].sql: {"n": 2}}

    async def interrupted(self: Transaction, statement: Any, values: dict[str, object]) -> Any:
        delta = writes.pop(statement.sql, None)
        if delta is not None:
            await world.patch("1", delta)
        return await fetch(self, statement, values)

    async def chunks() -> AsyncIterator[list[NewRecord]]:
        yield [NewRecord(COLLECTION, "1", '{"n": 0}')]

    monkeypatch.setattr(Transaction, "fetch", interrupted)
    await world.imports.load(
        world.actor("sys"), COLLECTION, chunks(), ImportMode.UPSERT, lambda _: _Counts(),
        allow_empty=False, change_reason="",
    )  # fmt: skip
    assert not writes
    assert await connection.fetchval(LOG, world.tenant_id) == [1, 2, 3, 4]
    assert await connection.fetchval(REBUILT, world.tenant_id, COLLECTION) == '{"n": 0}'
