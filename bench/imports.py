"""Measure imports against their limit: a direct COPY of the same rows, and of the entries of their orders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from draftline import Client, SortKey
from draftline.documents import encode

from .environment import Environment
from .load_generators import Load
from .measurements import Measurements
from .sizes import Sizes

TENANT, COLLECTION = "bench", "imported"
DECLARED = {"/Major Genre": "text", "/Worldwide Gross": "number", "/Release Date": "date"}
# With one for each field, there are four.
ORDERS: list[list[SortKey | str]] = [["/Major Genre", SortKey("/Worldwide Gross", descending=True)]]
IMPORT, COPY = "ImportContent", "COPY into the same tables"
UNIT = "records/s"
COLUMNS = (
    "tenant_id", "collection", "record_id", "content", "version", "created_at", "created_by", "updated_at", "updated_by"
)  # fmt: skip
ENTRY_COLUMNS = ("tenant_id", "collection", "order_id", "key", "record_id")
ENTRIES = f"""SELECT {", ".join(ENTRY_COLUMNS)} FROM draftline.order_entry
    WHERE tenant_id = $1 AND collection = $2 ORDER BY order_id, key, record_id"""  # noqa: S608 - the columns above


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    token = environment.token([TENANT])
    with Client(environment.address, tenant_id=TENANT, token=token) as client:
        client.put_collection(COLLECTION, fields=DECLARED, orders=ORDERS)
    load = Load("import", environment.address, environment.url, token, TENANT, COLLECTION, sizes.imported)
    for _ in range(sizes.rounds):
        for name, kind, limit in ((IMPORT, "import", COPY), (COPY, "copy", "")):
            if kind == "import":
                asyncio.run(empty(environment.url, TENANT, COLLECTION))
            outcome = environment.load_generators.run_once(load.of_kind(kind))
            measurements.add(name, UNIT, outcome["rate"], limit=limit)
    asyncio.run(empty(environment.url, TENANT, COLLECTION))


async def empty(url: str, tenant_id: str, collection: str) -> None:
    """Delete the records and their entries, and vacuum the tables, so that each load starts from the same state."""
    connection = await asyncpg.connect(url)
    try:
        for table in ("record", "order_entry"):
            condition = "WHERE tenant_id = $1 AND collection = $2"
            await connection.execute(f"DELETE FROM draftline.{table} {condition}", tenant_id, collection)  # noqa: S608 - the tables above
            await connection.execute(f"VACUUM ANALYZE draftline.{table}")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def copied(url: str, tenant_id: str, collection: str, records: Sequence[tuple[str, Mapping[str, Any]]]) -> float:
    """Copy records, and the entries that an import of the same records made, and return the records per second."""
    now = datetime.now(UTC)
    rows = [
        (tenant_id, collection, record_id, encode(content), 1, now, "bench", now, "bench")
        for record_id, content in records
    ]
    connection = await asyncpg.connect(url)
    try:
        entries = [tuple(entry) for entry in await connection.fetch(ENTRIES, tenant_id, collection)]
        await empty(url, tenant_id, collection)
        began = time.perf_counter()
        copy = connection.copy_records_to_table
        await copy("record", schema_name="draftline", columns=COLUMNS, records=rows)
        await copy("order_entry", schema_name="draftline", columns=ENTRY_COLUMNS, records=entries)
        return len(rows) / (time.perf_counter() - began)
    finally:
        await connection.close()
