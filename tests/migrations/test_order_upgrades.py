"""Declarations from before order entries get them in the background, while calls go on."""

from __future__ import annotations

import asyncio
import json
import random

import asyncpg
from draftline_server.domain.filters.parser import parse_order_by
from draftline_server.domain.merged import MergedQuery
from draftline_server.ops import migrate
from draftline_server.store.collections.old_indexes import drop_unneeded
from draftline_server.store.collections.order_entries import OrderEntries
from support.entry_checks import order_states, wrong_entries
from support.old_indexes import build_old_indexes, old_index_names, orders_of
from support.servers import beside, cloned, run_sql
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change, connected

BEFORE = [
    """INSERT INTO draftline.collection (tenant_id, collection, fields, orders, indexed_text, json_schema, version,
        created_at, updated_at, history)
    SELECT t, 'films', '[{"path": ["n"], "type": "NUMBER"}, {"path": ["o", "t"], "type": "TEXT"}]',
        '[[{"path": ["o", "t"], "descending": false}, {"path": ["n"], "descending": true}],
          [{"path": ["n"], "descending": false}]]', '[]', '', 1, '2026-01-01Z', '2026-01-01Z', 'VALUES'
    FROM unnest(ARRAY['t', 'u']) AS t""",
    """INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by,
        updated_at, updated_by, deleted_at)
    SELECT 't', 'films', 'r' || lpad(i::text, 4, '0'),
        jsonb_build_object('n', i % 7, 'o', jsonb_build_object('t', 'x' || i % 3)),
        1, '2026-01-01Z', 'ada', '2026-01-01Z', 'ada', CASE WHEN i % 10 = 0 THEN timestamptz '2026-01-02Z' END
    FROM generate_series(1, 3000) AS i""",
    """INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged,
        version, session_id, change_reason, created_at, updated_at)
    SELECT 't', 'ada', 'films', record_id, 'CHANGE', '{"s": {"n": 9}}', jsonb_build_object('s', content - 'o'), 1,
        content || '{"n": 9}', 1, '', '', '2026-01-03Z', '2026-01-03Z'
    FROM draftline.record WHERE record_id < 'r0500' AND deleted_at IS NULL""",
]


async def test_orders_declared_before_get_their_entries_while_calls_go_on(postgres_url: str, template: str) -> None:
    with cloned(postgres_url, template) as url:
        beside(migrate.go_to, url, "0010")
        run_sql(url, *BEFORE)
        beside(migrate.upgrade, url)
        async with connected(url) as database:
            world, dice = LoggedWorld(database, "t"), random.Random(1)
            assert await order_states(database, "t") == ["BUILDING"] * 3
            assert await order_states(database, "u") == ["BUILDING"] * 3
            connection = await asyncpg.connect(url)
            keys = await connection.fetch("SELECT DISTINCT keys::text FROM draftline.collection_order")
            await build_old_indexes(connection, COLLECTION, orders_of([row[0] for row in keys]))
            assert len(await old_index_names(connection)) == 6
            async with database.dedicated_connection() as dedicated:
                await drop_unneeded(dedicated)  # lists need all of them still
            assert len(await old_index_names(connection)) == 6

            async def work_off() -> None:
                async with database.dedicated_connection() as dedicated:
                    await OrderEntries(database).work_off(dedicated)

            building = asyncio.create_task(work_off())
            while not building.done():
                record_id = f"r{dice.randrange(1, 3000):04d}"
                if not record_id.endswith("0"):
                    await world.patch(record_id, {"n": dice.randrange(9)})
                    await world.save("bob", change(record_id, {"o": {"t": f"y{dice.randrange(3)}"}}))
                await check_page(world)
            await building
            assert await order_states(database, "t") == ["READY"] * 3
            assert await order_states(database, "u") == ["READY"] * 3
            assert await wrong_entries(database, "t") == []
            async with database.dedicated_connection() as dedicated:
                await drop_unneeded(dedicated)
            assert await old_index_names(connection) == []
            await connection.close()
            await check_page(world)
            before = await world.stored("record")
        assert beside(migrate.go_to, url, "0010") == "0010"
        beside(migrate.upgrade, url)
        async with connected(url) as database:
            assert await order_states(database, "t") == ["BUILDING"] * 3
            assert await LoggedWorld(database, "t").stored("record") == before


async def check_page(world: LoggedWorld) -> None:
    """The first page by a declared order is that of the merged values."""
    query = MergedQuery(COLLECTION, order=parse_order_by("n desc"), order_text="n desc")
    page = await world.merged.page(world.actor("ada"), query, 20, "")
    numbers = [json.loads(each.record.content).get("n") for each in page.records]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 20
