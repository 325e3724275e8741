"""Compare both copies of the tables in one snapshot: rows and checksums by tenant, triggers, and distribution."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .copying import Progress
from .layout import TABLES, qualified
from .switch_state import Phase, fetch
from .sync_triggers import Sync, unmatched

MOST_TENANTS, MOST_KEYS = 5, 5


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table in both copies. `checksum`: sum of hashes of the rows in use; `other_checksum`: of the others."""

    table: str
    rows: int
    other_rows: int
    checksum: str
    other_checksum: str
    tenants: int
    unmatched: int
    differing_tenants: list[str]
    differing_rows: list[str]
    partitions: dict[str, int]

    @property
    def is_equal(self) -> bool:
        return not self.differing_tenants and not self.unmatched


@dataclass(slots=True)
class Verification:
    """The result for all tables. `triggers_off`: triggers that are missing or do not fire always."""

    phase: Phase
    tables: list[TableReport] = field(default_factory=list)
    triggers_off: list[str] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        return not self.triggers_off and all(table.is_equal for table in self.tables)

    def as_json(self) -> dict[str, Any]:
        tables = [{**asdict(table), "is_equal": table.is_equal} for table in self.tables]
        return {"phase": self.phase, "ok": self.is_ok, "triggers_off": self.triggers_off, "tables": tables}

    def summary(self) -> dict[str, Any]:
        """Return rows and checksums by table, without names of tenants."""
        return {
            table.table: {"rows": table.rows, "other_rows": table.other_rows, "checksum": table.checksum,
                          "other_checksum": table.other_checksum, "differing_tenants": len(table.differing_tenants)}
            for table in self.tables
        }  # fmt: skip


async def verify(connection: Any, phase: Phase, syncs: list[Sync], progress: Progress) -> Verification:
    """Compare the tables in use with their other copy, which the triggers write to."""
    result = Verification(phase)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL work_mem = '64MB'; SET LOCAL extra_float_digits = 1")
        for sync in syncs:
            progress(sync.source, 0, None)
            table = await _table(connection, sync)
            progress(sync.source, table.rows, table.rows)
            result.tables.append(table)
        result.triggers_off = await triggers_off(connection, syncs)
    return result


def comparison_sql(syncs: list[Sync]) -> list[str]:
    """Return the statements that compare all tables."""
    read = [text for sync in syncs for text in (_comparison(sync), _distribution(sync))]
    return ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", *read, "COMMIT"]


def _distribution(sync: Sync) -> str:
    partitioned = sync.target if sync.target.endswith("_new") else sync.copied
    return (
        f"SELECT r.tableoid::regclass::text AS name, count(*) AS n FROM {qualified(partitioned)} AS r "
        "GROUP BY 1 ORDER BY 1"
    )


async def triggers_off(connection: Any, syncs: list[Sync]) -> list[str]:
    rows = await fetch(connection, "trigger_states", names=list(TABLES))
    on = {(row["name"], row["trigger"]) for row in rows if row["is_on"]}
    return [name for sync in syncs for name in sync.triggers if (sync.source, name) not in on]


async def _table(connection: Any, sync: Sync) -> TableReport:
    both = await connection.fetch(_comparison(sync))
    distribution = await connection.fetch(_distribution(sync))
    differing = [row for row in both if (row["n"], row["h"]) != (row["other_n"], row["other_h"])]
    keys = [
        key for row in differing[:MOST_TENANTS] for key in await _differing_rows(connection, sync, row["tenant_id"])
    ]
    spare = (
        0 if sync.key else await connection.fetchval(f"SELECT count(*) FROM {qualified(unmatched(sync.definition))}")
    )
    return TableReport(
        table=sync.source,
        rows=sum(row["n"] for row in both),
        other_rows=sum(row["other_n"] for row in both),
        checksum=str(sum(row["h"] for row in both)),
        other_checksum=str(sum(row["other_h"] for row in both)),
        tenants=len(both),
        unmatched=spare,
        differing_tenants=[row["tenant_id"] for row in differing],
        differing_rows=keys,
        partitions={row["name"].removeprefix("draftline."): row["n"] for row in distribution},
    )


def _comparison(sync: Sync) -> str:
    """Return the comparison by tenant. The hash is of the text of a row, in which 1.0 is not 1.00."""
    row = f"ROW({', '.join(f'r.{column}' for column in sync.columns)})::text"
    sums = [
        f"SELECT r.tenant_id, count(*) AS n, sum(hashtextextended({row}, 0)) AS h FROM {qualified(table)} AS r "
        "GROUP BY 1"
        for table in (sync.copied, sync.target)
    ]
    return (
        "SELECT coalesce(a.tenant_id, b.tenant_id) AS tenant_id, coalesce(a.n, 0) AS n, coalesce(a.h, 0) AS h, "
        f"coalesce(b.n, 0) AS other_n, coalesce(b.h, 0) AS other_h FROM ({sums[0]}) AS a "
        f"FULL JOIN ({sums[1]}) AS b ON b.tenant_id = a.tenant_id ORDER BY 1"
    )


async def _differing_rows(connection: Any, sync: Sync, tenant_id: str) -> list[str]:
    """Return the keys of some rows of a tenant that are not the same in both copies."""
    line, key = f"ROW({', '.join(sync.columns)})::text", f"ROW({', '.join(sync.key or sync.columns)})::text"
    parts = [
        f"SELECT {key} AS key, {line} AS line FROM {qualified(table)} WHERE tenant_id = $1"
        for table in (sync.copied, sync.target)
    ]
    rows = await connection.fetch(
        f"SELECT DISTINCT d.key FROM (({parts[0]} EXCEPT ALL {parts[1]}) UNION ALL "
        f"({parts[1]} EXCEPT ALL {parts[0]})) AS d ORDER BY 1 LIMIT {MOST_KEYS}",
        tenant_id,
    )
    return [f"{sync.source} {row['key']}" for row in rows]
