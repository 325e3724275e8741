"""Sentences about a database that a migration cannot change."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

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
