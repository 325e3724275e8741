"""Records whose order entries a service builds until it is killed."""

from __future__ import annotations

import asyncpg

TENANT, COLLECTION = "acme", "films"
FIELDS = {"/n": "number", "/title": "text"}
FILL = """
INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by,
    updated_at, updated_by)
SELECT $1, $2, 'r' || lpad(n::text, 6, '0'), jsonb_build_object('n', n % 97, 'title', md5(n::text)), 1,
    now(), 'sys', now(), 'sys'
FROM generate_series(1, $3::int) AS n
"""


async def fill(connection: asyncpg.Connection, count: int) -> None:
    """Create this many records, of which record_id() names the first from 1."""
    await connection.execute(FILL, TENANT, COLLECTION, count)


def record_id(number: int) -> str:
    return f"r{number:06}"


async def is_ready(connection: asyncpg.Connection) -> bool:
    """Return whether all declared orders are built."""
    sql = "SELECT bool_and(state = 'READY') FROM draftline.collection_order WHERE tenant_id = $1"
    return bool(await connection.fetchval(sql, TENANT))
