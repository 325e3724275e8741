"""Sentences about a database that a migration cannot change, or whose schema is incomplete after it."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ..store.schema_parts import Find, missing_indexes, missing_parts, some
from ..store.schema_problems import unknown_revision, wrong_server
from ..store.statements import load
from ..store.tables import metadata

FACTS = """SELECT current_setting('server_version_num')::int, current_setting('server_version'),
    current_setting('server_encoding')"""


async def server_problem(connection: AsyncConnection) -> str:
    """Return a sentence about the version or the encoding of the database; empty if both are supported."""
    return wrong_server(*(await connection.execute(text(FACTS))).one())


async def remains_problem(connection: AsyncConnection) -> str:
    """Return a sentence if the schema has tables, though it has no revision; empty if it has none."""
    names = [table.name for table in metadata.tables.values()]
    remains = (await connection.exec_driver_sql(load("database")["remains"].sql, (names,))).one()
    return unknown_revision([], remains.comment) if remains.tables else ""


async def incomplete_problem(connection: AsyncConnection) -> str:
    """Return a sentence about what the schema of the current revision lacks, functions aside; empty if it has all."""
    missing = (await missing_parts(_find_in(connection))).without_functions
    return f"the schema lacks parts of its revision ({missing}): {missing.fix}" if missing else ""


async def indexes_notice(connection: AsyncConnection) -> str:
    """Return a sentence about missing indexes, without which calls are slow; empty if there are none."""
    missing = await missing_indexes(_find_in(connection))
    if not missing:
        return ""
    return f"indexes are missing, so calls are slow: {some([*missing])}; `draftline doctor` prints their statements"


def _find_in(connection: AsyncConnection) -> Find:
    async def find(statement: str, names: list[str]) -> list[str]:
        rows = await connection.exec_driver_sql(load("database")[statement].sql, (names,))
        return list(rows.scalars())

    return find
