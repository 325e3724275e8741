"""A plan that was made when a table was small must still serve when it is large."""

from __future__ import annotations

import asyncpg
from draftline_server.store.commits import COMMITS
from draftline_server.store.content import SQL as CONTENT
from draftline_server.store.drafts import SQL as DRAFTS
from draftline_server.store.engine import Database
from draftline_server.store.statements import Statement

FEW = """
INSERT INTO draftline.record
SELECT 'acme', 'films', g::text, '{}', 1, NULL, NULL, now(), 'ada', now(), 'ada', NULL FROM generate_series(1, 20) AS g
"""


async def plan_of(connection: asyncpg.Connection, statement: Statement) -> str:
    prepared = await connection.prepare(statement.sql)
    nulls = ", ".join("NULL" for _ in prepared.get_parameters())
    await connection.execute(f"PREPARE planned AS {statement.sql}")
    rows = await connection.fetch(f"EXPLAIN EXECUTE planned ({nulls})")
    await connection.execute("DEALLOCATE planned")
    return "\n".join(row[0] for row in rows)


async def test_statements_use_indexes_even_while_tables_are_small(database_url: str) -> None:
    database = Database(database_url)
    await database.open()
    direct = await asyncpg.connect(database_url)
    await direct.execute(FEW)
    await direct.close()
    try:
        async with database.session() as session:
            connection = session._connection
            await connection.execute("ANALYZE")
            for statement in (
                CONTENT["get_content"],
                CONTENT["patch_content"],
                CONTENT["delete_content"],
                DRAFTS["save_drafts"],
                COMMITS["lock_drafts"],
                COMMITS["write_drafts"],
                DRAFTS["drop_drafts"],
                DRAFTS["refresh_drafts"],
            ):
                plan = await plan_of(connection, statement)
                assert "Seq Scan" not in plan, f"{statement.name}\n{plan}"
    finally:
        await database.close()
