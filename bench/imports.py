"""Measure imports against their limit: a direct COPY of the same rows into the same table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from draftline import Client
from draftline.documents import encode

from .environment import Environment
from .load_generators import Load
from .measurements import Measurements
from .sizes import Sizes

TENANT, COLLECTION = "bench", "imported"
DECLARED = {"/Major Genre": "text", "/Worldwide Gross": "number", "/Release Date": "date"}
IMPORT, COPY = "ImportContent", "COPY into the same table"
UNIT = "records/s"
COLUMNS = (
    "tenant_id", "collection", "record_id", "content", "version", "created_at", "created_by", "updated_at", "updated_by"
)  # fmt: skip


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    token = environment.token([TENANT])
    with Client(environment.address, tenant_id=TENANT, token=token) as client:
        client.put_collection(COLLECTION, fields=DECLARED)
    load = Load("import", environment.address, environment.url, token, TENANT, COLLECTION, sizes.imported)
    for _ in range(sizes.rounds):
        for name, kind, limit in ((IMPORT, "import", COPY), (COPY, "copy", "")):
            asyncio.run(_empty(environment.url))
            outcome = environment.load_generators.run_once(load.of_kind(kind))
            measurements.add(name, UNIT, outcome["rate"], limit=limit)
    asyncio.run(_empty(environment.url))


async def _empty(url: str) -> None:
    """Delete the records and vacuum the table, so that each import starts from the same state."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "DELETE FROM draftline.record WHERE tenant_id = $1 AND collection = $2", TENANT, COLLECTION
        )
        await connection.execute("VACUUM ANALYZE draftline.record")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def copied(url: str, tenant_id: str, collection: str, records: Sequence[tuple[str, Mapping[str, Any]]]) -> float:
    """Copy the records by asyncpg, and return the records per second."""
    now = datetime.now(UTC)
    rows = [
        (tenant_id, collection, record_id, encode(content), 1, now, "bench", now, "bench")
        for record_id, content in records
    ]
    connection = await asyncpg.connect(url)
    try:
        began = time.perf_counter()
        await connection.copy_records_to_table("record", schema_name="draftline", columns=COLUMNS, records=rows)
        return len(rows) / (time.perf_counter() - began)
    finally:
        await connection.close()
