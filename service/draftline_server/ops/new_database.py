"""Create the schema in an empty database from migrations/schema.sql: the migrations would take ten times as long."""

from __future__ import annotations

from ..store.time_limits import connect_unlimited
from . import revisions

CONNECT_S = 60.0
FILES = ("schema.sql", "rows.sql")


async def create_schema(url: str) -> str:
    """Create the schema of this version in an empty database, and return its revision.

    It is what the migrations create, except that weekly partitions have no comments of their columns.
    """
    revision = revisions.head()
    script = "\n".join((revisions.FOLDER / name).read_text() for name in FILES)
    connection = await connect_unlimited(url, CONNECT_S)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL check_function_bodies = off")  # functions call each other
            await connection.execute(script)
            await connection.execute("INSERT INTO draftline.alembic_version VALUES ($1)", revision)
    finally:
        await connection.close()
    return revision
