"""The limit of an import: COPY of the same rows into the same table, straight to PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from draftline.documents import encode

COLUMNS = (
    "tenant_id", "collection", "record_id", "content", "version", "created_at", "created_by", "updated_at", "updated_by"
)  # fmt: skip


def empty(url: str, tenant_id: str, collection: str) -> None:
    """Takes a collection's records away, room and all, so that each import starts alike."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(
                "DELETE FROM draftline.record WHERE tenant_id = $1 AND collection = $2", tenant_id, collection
            )
            await connection.execute("VACUUM ANALYZE draftline.record")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()

    asyncio.run(run())


def copy_rate(url: str, tenant_id: str, collection: str, records: Sequence[tuple[str, Mapping[str, Any]]]) -> float:
    """Records a second."""
    now = datetime.now(UTC)
    rows = [
        (tenant_id, collection, record_id, encode(content), 1, now, "bench", now, "bench")
        for record_id, content in records
    ]

    async def run() -> float:
        connection = await asyncpg.connect(url)
        try:
            began = time.perf_counter()
            await connection.copy_records_to_table("record", schema_name="draftline", columns=COLUMNS, records=rows)
            return len(rows) / (time.perf_counter() - began)
        finally:
            await connection.close()

    return asyncio.run(run())
