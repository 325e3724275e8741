"""A call by key reads the rows of its records, whatever the planner knows of the tables.

A plan is made once for each connection, perhaps while the tables are empty, and from statistics that may not exist yet,
or are of another tenant.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.changes import ChangeSource, Write
from draftline_server.domain.content import Limits
from draftline_server.domain.drafts import ConflictPolicy
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.records import Delta, Operations, Patch
from draftline_server.store.in_place_patches import WAITING, WAITING_PLAIN, InPlacePatches, Terms
from draftline_server.store.statements import Statement
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, World, change, connected, creation, deletion, of_records

OTHERS = 2_000  # records and drafts of the tenant that the calls do not name
ROWS = 20
READS = 40  # of a row: to lock it, to write it, to return it, and as much of its draft and its entries

FIELDS = '[{"path": ["a"], "type": "NUMBER"}]'
ORDERS = '[[{"path": ["a"], "descending": false}]]'
STATISTICS = '[{"name": "by_b", "keys": [{"path": ["b"], "type": "NUMBER"}], "measures": [["a"]]}]'
GROWN = f"""
INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by, updated_at,
    updated_by)
SELECT 'acme', 'films', 'other-' || g, '{{"a": 1}}', 1, now(), 'sys', now(), 'sys'
FROM generate_series(1, {OTHERS}) AS g;
INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged, version,
    session_id, change_reason, created_at, updated_at)
SELECT 'acme', 'ada', 'films', 'other-' || g, 'CHANGE', '{{"s": {{"a": 2}}}}', '{{"s": {{"a": 1}}}}', 1, '{{"a": 2}}',
    1, '', '', now(), now() FROM generate_series(1, {OTHERS}) AS g;
INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
SELECT r.tenant_id, r.collection, o.order_id, draftline.order_key(r.content, o.keys), r.record_id
FROM draftline.record AS r JOIN draftline.collection_order AS o USING (tenant_id, collection) WHERE r.tenant_id = 'acme'
ON CONFLICT DO NOTHING;
INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
SELECT d.tenant_id, d.user_id, d.collection, o.order_id, draftline.order_key(d.merged, o.keys), d.record_id
FROM draftline.draft AS d JOIN draftline.collection_order AS o USING (tenant_id, collection) WHERE d.tenant_id = 'acme'
ON CONFLICT DO NOTHING;
"""
FLUSH = Statement("flush", "SELECT pg_stat_force_next_flush()", ())
READ = """
SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE schemaname = 'draftline')
    + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname = 'draftline')
"""


class Counting(LoggedWorld):
    """A tenant whose calls all use one connection; it counts the rows and index entries that a call reads."""

    async def reads(self, observer: asyncpg.Connection, call: Callable[[], Awaitable[Any]]) -> int:
        await observer.execute(FLUSH.sql)
        before = await observer.fetchval(READ)
        await call()
        await self.database.fetch(FLUSH, {})
        return int(await observer.fetchval(READ) - before)

    async def patch_by(self, terms: Terms, ids: Sequence[str], **fields: Any) -> None:
        applier = InPlacePatches(self.specs, Limits())
        write = Write(self.actor("sys"), ChangeSource.PATCH_CONTENT, await self.database.now())
        patches = [Patch(COLLECTION, each, Delta(json.dumps(fields), Strategy.SHALLOW)) for each in ids]
        entries = [applier.entry(write, patch, stores_responses=False) for patch in patches]
        rows = await applier.rows(self.database, entries, terms)
        assert all(row is not None and row["failure"] is None for row in rows)


def records_of(name: str) -> dict[str, dict[str, Any]]:
    return {f"{name}-{kind}{number}": {"a": 1} for kind in ("", "drafted-") for number in range(ROWS)}


def calls(world: Counting, name: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return calls of every kind, in order, on new records."""
    ids = [f"{name}-{number}" for number in range(ROWS)]
    drafted = [f"{name}-drafted-{number}" for number in range(ROWS)]
    new = [f"{name}-new-{number}" for number in range(ROWS)]
    replacing = World(world.database, world.tenant_id, partial_updates=False)
    patches = [Patch(COLLECTION, each, Operations([Operation("increment", ("a",), value=1)])) for each in ids]
    return {
        "create": lambda: world.create(f"{name}-created", {"a": 1}),
        "get": lambda: world.record(ids[0]),
        "plain patches": lambda: world.patch_by(Terms(waits=False, plain=True), ids, b=1),
        "plain patches of an order": lambda: world.patch_by(Terms(waits=False, plain=True), ids, a=2),
        "folded patches": lambda: world.patch_by(Terms(waits=False, folded=True), ids[:1] * ROWS, c=2),
        "plain batch": lambda: world.patch_by(WAITING_PLAIN, ids, a=3),
        "patches": lambda: world.patch_by(Terms(waits=False), ids, a=4),
        "patches that wait": lambda: world.patch_by(WAITING, ids, a=5),
        "batch": lambda: world.patch_all(patches),
        "save": lambda: world.save_all("eve", [change(each, {"a": 8}) for each in drafted]),
        "save again": lambda: world.save_all("eve", [change(each, {"a": 9}) for each in drafted]),
        "save of new records": lambda: world.save_all("eve", [creation(each, {"a": 8}) for each in new]),
        "patches under drafts": lambda: world.patch_by(WAITING, drafted, a=10),
        "patches that leave drafts": lambda: world.patch_by(Terms(waits=False), drafted, b=11),
        "commit": lambda: world.commit("eve", of_records(*drafted[:10], *new[:10]), ConflictPolicy.KEEP_MINE),
        "discard": lambda: world.discard("eve", of_records(*drafted[10:])),
        "save of deletions": lambda: world.save_all("eve", [deletion(each) for each in drafted]),
        "revert": lambda: world.revert_version(drafted[0], 2, ConflictPolicy.KEEP_MINE),
        "commit of deletions": lambda: world.commit("eve", of_records(*drafted), ConflictPolicy.KEEP_MINE),
        "patches without partial updates": lambda: replacing.patch_all(patches),
        "delete": lambda: world.delete(ids[0]),
        "undelete": lambda: world.undelete(ids[0]),
    }


STORED = """
SELECT c.oid::regclass::text AS name FROM pg_class AS c
WHERE coalesce(pg_partition_root(c.oid), c.oid) = $1::text::regclass AND c.relkind = 'r'
"""


async def test_new_tables_are_not_taken_for_empty_ones(connection: asyncpg.Connection) -> None:
    """The planner expects one row of a table that counts as pages without rows, however large it has become."""
    emptied = """SELECT relname FROM pg_class WHERE relnamespace = 'draftline'::regnamespace AND relkind = 'r'
        AND NOT relispartition AND reltuples = 0 AND relpages > 0"""
    assert await connection.fetch(emptied) == []


async def empty_tables(connection: asyncpg.Connection) -> None:
    """Analyze tables whose rows were deleted: the planner then expects one row of a table of any size."""
    await connection.execute(f"{GROWN} DELETE FROM draftline.record; DELETE FROM draftline.draft; ANALYZE")
    await connection.execute("DELETE FROM draftline.order_entry; DELETE FROM draftline.draft_order_entry; ANALYZE")


async def fill_other(connection: asyncpg.Connection) -> None:
    await connection.execute(f"{GROWN.replace('acme', 'other')} ANALYZE")


async def nothing(connection: asyncpg.Connection) -> None:
    """Leave the tables as a migration leaves them."""


@pytest.mark.parametrize(
    ("prepare", "is_planned_empty"),
    [(nothing, False), (nothing, True), (empty_tables, False), (empty_tables, True), (fill_other, True)],
    ids=["never analyzed", "planned when empty", "analyzed when emptied", "planned when emptied", "of another tenant"],
)
async def test_calls_by_key_read_their_rows_alone_whatever_the_planner_knows(
    prepare: Callable[[asyncpg.Connection], Awaitable[None]],
    is_planned_empty: bool,
    database_url: str,
    connection: asyncpg.Connection,
) -> None:
    for table in ("record", "draft", "order_entry", "draft_order_entry"):
        for row in await connection.fetch(STORED, f"draftline.{table}"):
            await connection.execute(f"ALTER TABLE {row['name']} SET (autovacuum_enabled = false)")
    async with connected(database_url, size=1) as database:
        world = Counting(database, "acme")
        await world.declare(fields=FIELDS, orders=ORDERS, statistics=STATISTICS)
        await prepare(connection)
        if is_planned_empty:
            await world.load(records_of("first"))
            for call in calls(world, "first").values():
                await call()
        await connection.execute(GROWN)
        await world.load(records_of("second"))
        read = {name: await world.reads(connection, call) for name, call in calls(world, "second").items()}
    assert {name: count for name, count in read.items() if count > READS * ROWS} == {}
