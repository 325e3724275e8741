"""Return the plan of a statement as it ran, and count what it read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
from draftline_server.partitions.layout import TABLES
from draftline_server.store.statements import Statement

PARENTS = """
SELECT c.relname AS name, p.relname AS parent
FROM pg_class AS c JOIN pg_class AS p ON p.oid = pg_partition_root(c.oid)
LEFT JOIN pg_index AS i ON i.indexrelid = p.oid
WHERE c.relispartition AND coalesce(i.indrelid, p.oid) = ANY (
    SELECT to_regclass('draftline.' || name) FROM unnest($1::text[]) AS name)
"""


async def explained(
    connection: asyncpg.Connection, statement: Statement, values: Mapping[str, Any]
) -> tuple[dict[str, Any], list[asyncpg.Record]]:
    """Return the plan and the rows of a statement, prepared and planned as the session has it.

    Partitions of a tenant's rows and their indexes have the names of the partitioned tables and indexes.
    """
    arguments = ", ".join(_literal(values[name]) for name in statement.names)
    execute = f"EXECUTE explained ({arguments})" if arguments else "EXECUTE explained"
    await connection.execute(f"PREPARE explained AS {statement.sql}")
    try:
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {execute}")
        rows = await connection.fetch(execute)
    finally:
        await connection.execute("DEALLOCATE explained")
    plan = json.loads(text)[0]["Plan"]
    parents = {row["name"]: row["parent"] for row in await connection.fetch(PARENTS, list(TABLES))}
    for node in nodes(plan):
        for kind in ("Relation Name", "Index Name"):
            if kind in node:
                node[kind] = parents.get(node[kind], node[kind])
    return plan, rows


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from nodes(below)


def rows_out(node: dict[str, Any]) -> float:
    return float(node["Actual Rows"]) * float(node["Actual Loops"])


def rows_read(plan: dict[str, Any]) -> float:
    """Return the rows read from tables, including those that a filter removed."""
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes(plan)
        if node.get("Relation Name")
    )


def _literal(value: Any) -> str:
    if isinstance(value, bool | int | Decimal):
        return str(value).lower()
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, bytes):
        value = f"\\x{value.hex()}"
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(_literal, value))}]"
    assert isinstance(value, str)
    return "'" + value.replace("'", "''") + "'"
