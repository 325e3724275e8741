"""The size of tables by partition, and the largest tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .database import Database
from .statements import load

SQL = load("storage")
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class TablePart:
    """A table that is not partitioned, whose `part` is empty, or a partition of one.

    `bytes` includes indexes and long values, `heap_bytes` does not. `unused_bytes` estimates the part of `heap_bytes`
    that no row needs. `tenant_id` is the tenant that the partition belongs to, if it belongs to one.
    """

    table: str
    part: str
    tenant_id: str | None
    rows: int
    dead_rows: int
    bytes: int
    heap_bytes: int
    unused_bytes: int

    @property
    def name(self) -> str:
        return self.part or self.table


@dataclass(frozen=True, slots=True)
class LargeTenant:
    """A tenant, and what it used at the last count."""

    tenant_id: str
    records: int
    bytes: int


async def read_table_parts(database: Database) -> list[TablePart]:
    """Return all tables and partitions of the service, the largest first."""
    rows = await database.fetch(SQL["table_parts"], {}, idempotent=True)
    return [
        TablePart(
            table=row["table_name"],
            part=row["part"],
            tenant_id=row["tenant_id"],
            rows=row["rows"],
            dead_rows=row["dead_rows"],
            bytes=row["bytes"],
            heap_bytes=row["heap_bytes"],
            unused_bytes=row["unused_bytes"],
        )
        for row in rows
    ]


async def read_lock_limit(database: Database) -> int:
    """Return max_locks_per_transaction of PostgreSQL."""
    rows = await database.fetch(SQL["lock_limit"], {}, idempotent=True)
    limit: int = rows[0]["lock_limit"]
    return limit


async def read_largest_tenants(database: Database, limit: int) -> list[LargeTenant]:
    """Return the tenants with the most records at their last count."""
    rows = await database.fetch(SQL["largest_tenants"], {"limit": limit}, idempotent=True)
    return [LargeTenant(row["tenant_id"], row["records"], row["bytes"]) for row in rows]


def summarized(parts: Sequence[TablePart], most: int) -> list[TablePart]:
    """Return the `most` largest partitions, the others of each table as one part, and all tables without partitions."""
    partitions = sorted((each for each in parts if each.part), key=lambda each: (-each.bytes, each.part))
    others: dict[str, TablePart] = {}
    for each in partitions[most:]:
        sum_ = others.get(each.table, TablePart(each.table, OTHERS, None, 0, 0, 0, 0, 0))
        others[each.table] = replace(
            sum_,
            rows=sum_.rows + each.rows,
            dead_rows=sum_.dead_rows + each.dead_rows,
            bytes=sum_.bytes + each.bytes,
            heap_bytes=sum_.heap_bytes + each.heap_bytes,
            unused_bytes=sum_.unused_bytes + each.unused_bytes,
        )
    return [*(each for each in parts if not each.part), *partitions[:most], *others.values()]
