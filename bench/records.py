"""Film-like records, created in this process or, for large numbers, in the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import asyncpg
import msgspec
from draftline_server.demo.steps import films

MAKE_RECORDS = """
INSERT INTO draftline.record (tenant_id, collection, record_id, content, version,
    created_at, created_by, updated_at, updated_by)
SELECT $1, $2, 'film-' || lpad(g::text, 8, '0'),
    f.content || jsonb_build_object('Worldwide Gross', (random() * 1e9)::bigint, 'Number', g),
    1, now(), 'bench', now(), 'bench'
FROM generate_series(0, $3::int - 1) AS g JOIN film AS f ON f.number = g % $4::int
"""


def record_id(number: int) -> str:
    return f"film-{number:08}"


def records(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield records, each a film with its number as its id."""
    known = [content for _, content in films()]
    for number in range(count):
        yield record_id(number), {**known[number % len(known)], "Number": number}


async def fill(connection: Any, tenant_id: str, collection: str, count: int) -> None:
    """Create the same records in the database, each with a random gross. Create indexes afterwards: that is faster."""
    encode = msgspec.json.Encoder(decimal_format="number").encode
    contents = [encode(content).decode() for _, content in films()]
    await connection.execute("CREATE TEMPORARY TABLE IF NOT EXISTS film (number int PRIMARY KEY, content jsonb)")
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM film)"):
        await connection.copy_records_to_table("film", records=list(enumerate(contents)))
    await connection.execute(MAKE_RECORDS, tenant_id, collection, count, len(contents))


async def settle(url: str) -> None:
    """Vacuum the tables and checkpoint, so that neither happens during a measurement."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
