"""Moves of order entries: of many at once, by their keys, and where an entry exists already."""

from __future__ import annotations

import json

import asyncpg
import pytest
from draftline_server.domain.drafts import Selection
from draftline_server.store.statements import Statement
from support.entry_checks import entry_count, wrong_entries
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, World, change, creation, deletion, of_records

FIELDS = json.dumps([{"path": ["ea"], "type": "TEXT"}, {"path": ["en"], "type": "NUMBER"}])
ORDERS = json.dumps([[{"path": ["en"], "descending": True}, {"path": ["ea"], "descending": False}]])
RELATIONS = json.dumps([{"name": "some", "path": ["o", "ids"], "collection": "films", "inverse": "somes"}])

MANY = 20  # drafts of a user
BLOCKS = 150  # of tables and indexes that a move of two entries may read


async def declared(world: World) -> None:
    await world.declare(fields=FIELDS, orders=ORDERS, relations=RELATIONS)
    await world.specs.load(world.tenant_id, [COLLECTION])


async def drafted(world: World) -> None:
    """Save MANY drafts of ada, and some of bob over the same records, of values that orders and relations read."""
    await world.load({f"r{number:02}": {"en": number, "ea": "x"} for number in range(MANY)})
    edits = [change(f"r{number:02}", {"ea": "y", "o": {"ids": ["a", "b"]}}) for number in range(MANY - 2)]
    await world.save_all("ada", [*edits, creation("new", {"en": 5}), deletion("r18")])
    await world.save_all("bob", [change(f"r{number:02}", {"en": -number}) for number in range(0, MANY, 3)])


@pytest.mark.parametrize("count", [3, MANY - 4, MANY], ids=["few", "most", "all"])
@pytest.mark.parametrize("ends", ["commit", "discard"])
async def test_entries_of_drafts_end_with_them(world: LoggedWorld, ends: str, count: int) -> None:
    await declared(world)
    await drafted(world)
    before = await entry_count(world.database, world.tenant_id)
    names = sorted(["new", *(f"r{number:02}" for number in range(MANY - 1))])[:count]
    selection = of_records(*names) if count < MANY else Selection()
    await (world.commit("ada", selection) if ends == "commit" else world.discard("ada", selection))
    assert await wrong_entries(world.database, world.tenant_id) == []
    assert await world.differences() == []
    assert 0 < await entry_count(world.database, world.tenant_id) < before


@pytest.mark.parametrize(
    ("count", "is_read"), [(3, False), (4, False), (10, True), (MANY, True)], ids=["3", "4", "10", "all"]
)
async def test_entries_of_many_drafts_are_read_at_once(world: LoggedWorld, count: int, is_read: bool) -> None:
    await declared(world)
    await drafted(world)
    names = [f"r{number:02}" for number in range(count)]
    sql = f"SELECT draftline.draft_order_entries($1, 'ada', '{COLLECTION}', $2::text[]) IS NOT NULL AS is_read"
    rows = await world.database.fetch(Statement("read", sql, ("t", "ids")), {"t": world.tenant_id, "ids": names})
    assert rows[0]["is_read"] is is_read


STRAY = f"""
INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
SELECT $1, '{COLLECTION}', o.order_id, draftline.order_key('{{"en": 2, "ea": "x"}}', o.keys), '1'
FROM draftline.collection_order AS o WHERE o.tenant_id = $1 AND o.keys #>> '{{0,type}}' <> 'ID'
ON CONFLICT DO NOTHING
"""
STRAY_DRAFT = STRAY.replace(".order_entry (tenant_id,", ".draft_order_entry (tenant_id, user_id,").replace(
    "$1, 'f", "$1, 'ada', 'f"
)


@pytest.mark.parametrize("statement", [STRAY, STRAY_DRAFT], ids=["of a record", "of a draft"])
async def test_entry_that_exists_already_does_not_fail_the_write(world: LoggedWorld, statement: str) -> None:
    await declared(world)
    await world.create("1", {"en": 1, "ea": "x"})
    await world.database.fetch(Statement("stray", statement, ("t",)), {"t": world.tenant_id})
    if statement == STRAY:
        await world.patch("1", {"en": 2})
    else:
        await world.save("ada", change("1", {"en": 2}))
    assert await wrong_entries(world.database, world.tenant_id) == []
    assert (await world.record("1")).version == (2 if statement == STRAY else 1)


async def test_entry_that_exists_already_does_not_fail_the_import(world: LoggedWorld) -> None:
    await declared(world)
    await world.create("1", {"en": 1, "ea": "x"})
    await world.database.fetch(Statement("stray", STRAY, ("t",)), {"t": world.tenant_id})
    await world.load({"1": {"en": 2, "ea": "x"}, "2": {"en": 2}})
    assert await wrong_entries(world.database, world.tenant_id) == []
    assert [each.version for each in await world.history("1")] == [1, 2]
    assert [each.version for each in await world.history("2")] == [1]


FILL = """
INSERT INTO draftline.{} SELECT 't', {} 'films', 1, int4send(g), g::text FROM generate_series(1, 20000) AS g
"""
MOVES = {
    "order_entry": ("", "draftline.move_order_entries('t', '{films,films}', '{7,8}', '{1,1}', $1, NULL)"),
    "draft_order_entry": (
        "'ada',",
        "draftline.delete_draft_order_entries('t', ARRAY(SELECT e.ctid FROM draftline.draft_order_entry AS e"
        " WHERE e.tenant_id = 't' AND e.user_id = 'ada' AND e.collection = 'films' AND e.order_id = 1"
        " AND e.key = ANY ($1)))",
    ),
}


@pytest.mark.parametrize("table", list(MOVES))
async def test_plan_of_a_move_made_while_tables_are_empty_reads_its_entries_alone(
    connection: asyncpg.Connection, table: str
) -> None:
    owner, call = MOVES[table]
    keys = [number.to_bytes(4, "big") for number in (7, 8)]
    explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT {call}"
    await connection.execute("SET enable_seqscan = off")
    await connection.execute(f"ANALYZE draftline.{table}")
    await connection.fetchval(f"SELECT {call}", keys)
    await connection.execute(FILL.format(table, owner))
    top = json.loads(await connection.fetchval(explain, keys))[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < BLOCKS
    assert await connection.fetchval(f"SELECT count(*) FROM draftline.{table}") == 20_000 - 2
