"""Return the plan of a statement as it ran, and count what it read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
from draftline_server.store.statements import Statement


async def explained(
    connection: asyncpg.Connection, statement: Statement, values: Mapping[str, Any]
) -> tuple[dict[str, Any], list[asyncpg.Record]]:
    """The plan and the rows of a statement, prepared and planned as the session has it."""
    arguments = ", ".join(_literal(values[name]) for name in statement.names)
    execute = f"EXECUTE explained ({arguments})" if arguments else "EXECUTE explained"
    await connection.execute(f"PREPARE explained AS {statement.sql}")
    try:
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {execute}")
        rows = await connection.fetch(execute)
    finally:
        await connection.execute("DEALLOCATE explained")
    return json.loads(text)[0]["Plan"], rows


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
