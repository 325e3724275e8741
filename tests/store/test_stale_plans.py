"""A plan that was made when a table was small must still serve when it is large."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.records import ImportMode
from draftline_server.store.commits import COMMITS
from draftline_server.store.content import SQL as CONTENT
from draftline_server.store.database import Database
from draftline_server.store.drafts import SQL as DRAFTS
from draftline_server.store.imports import SQL as IMPORTS
from draftline_server.store.statements import Statement
from draftline_server.store.transaction import Transaction
from support.tenant_stores import World, connected

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
        async with database.dedicated_connection() as session:
            connection = session._connection
            await connection.execute("ANALYZE")
            for statement in (
                CONTENT["get_content"],
                CONTENT["patch_content"],
                CONTENT["delete_content"],
                DRAFTS["save_drafts"],
                DRAFTS["save_drafts_again"],
                COMMITS["lock_drafts"],
                COMMITS["write_drafts"],
                COMMITS["write_plain_drafts"],
                DRAFTS["drop_drafts"],
                DRAFTS["refresh_drafts"],
            ):
                plan = await plan_of(connection, statement)
                assert "Seq Scan" not in plan, f"{statement.name}\n{plan}"
    finally:
        await database.close()


@pytest.mark.parametrize("mode", ImportMode)
async def test_import_into_a_collection_that_the_planner_does_not_know_reads_what_waits_once(
    mode: ImportMode, database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records and drafts are read once, though the planner expects one of each."""
    fetch, plans = Transaction.fetch, dict[str, Any]()
    names = (
        "lock_imported",
        "lock_snapshot",
        "log_created",
        "log_changed",
        "upsert_imported",
        "lock_imported_drafts",
        "delete_unlisted",
    )
    joining = {IMPORTS[name].sql for name in names}

    async def explained(self: Transaction, statement: Statement, values: dict[str, object]) -> Any:
        # What a lock of drafts leads to is not run without drafts.
        refresh = [IMPORTS["refresh_imported"]] if statement.name == "lock_imported_drafts" else []
        for each in [statement, *refresh] if statement.sql in joining else []:
            plan = await self.connection.fetchval(f"EXPLAIN (FORMAT JSON) {each.sql}", *each.arguments(values))
            plans[each.name] = json.loads(plan)[0]["Plan"]
        return await fetch(self, statement, values)

    monkeypatch.setattr(Transaction, "fetch", explained)
    await connection.execute(FEW.replace("'films'", "'actors'"))
    await connection.execute("ANALYZE draftline.record, draftline.draft")
    async with connected(database_url) as database:
        counts = await World(database, "acme").load({str(place): {} for place in range(20_000)}, mode)
    assert counts.inserted == 20_000
    assert len(plans) == (7 if mode is ImportMode.SNAPSHOT else 6)
    for name, plan in plans.items():
        assert not rereads(plan), f"{name}\n{plan}"


def rereads(plan: dict[str, Any]) -> bool:
    """Return whether the plan reads a table as a whole for each row of another."""
    parts = plan.get("Plans", [])
    is_reread = plan["Node Type"] == "Nested Loop" and any(map(reads_whole, parts[1:]))
    return is_reread or any(map(rereads, parts))


def reads_whole(plan: dict[str, Any]) -> bool:
    """Return whether the plan reads a table as a whole, except `locked`, which is analyzed when it is filled."""
    if plan["Node Type"] == "Seq Scan" and plan["Relation Name"] != "locked":
        return True
    return any(map(reads_whole, plan.get("Plans", [])))
