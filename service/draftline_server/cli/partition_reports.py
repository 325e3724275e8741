"""The reports of `draftline partitions`, as text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..partitions.mode import Mode
from ..partitions.switch_state import Phase
from ..partitions.verification import Verification

MIB = 1 << 20
OWN_PARTITION = 0.1  # of the records: a tenant with more gets its own partitions


def plan_text(report: Mapping[str, Any]) -> str:
    lines = [f"The tables are {report['mode']}, phase {report['phase']}; next is {report['next']}."]
    lines += _tables(report["tables"])
    estimated = sum(row["rows"] or 0 for row in report["tables"] if row["name"] == "record")
    rows = max(estimated, report["records"])
    big = [row for row in report["tenants"] if rows and row["records"] >= OWN_PARTITION * rows]
    for row in big:
        own = ", in its own partitions" if row["has_own_partitions"] else ""
        lines.append(f"  tenant {row['tenant_id']}: {row['records']:,} records{own}")
    lines += _suggestions(report, [row["tenant_id"] for row in big if not row["has_own_partitions"]])
    found = report["obstacles"]
    lines += [f"obstacle: {obstacle}" for obstacle in found] or ["Nothing prevents it."]
    return "\n".join(lines)


def _suggestions(report: Mapping[str, Any], tenants: Sequence[str]) -> list[str]:
    """Return the commands that fit the mode and the phase. `tenants` are big and have no partitions of their own."""
    names = [shlex.quote(tenant) for tenant in tenants]
    if report["mode"] == Mode.PARTITIONED and report["phase"] in (Phase.NONE, Phase.DONE):
        return [f"Suggested: draftline partitions promote -- {name}" for name in names]
    if report["phase"] != Phase.NONE:
        return []
    total = sum(row["bytes"] for row in report["tables"])
    return [
        f"A start copies them: it needs about {total / MIB:,.0f} MiB more until cleanup, and as much WAL.",
        f"Suggested: draftline partitions start{''.join(f' --tenant={name}' for name in names)}",
    ]


def status_text(report: Mapping[str, Any]) -> str:
    lines = [
        f"The tables are {report['mode']}, phase {report['phase']}; next is {report['next']}.",
        *_tables(report["tables"]),
    ]
    if report["other_tables"]:
        lines += ["The other copy:", *_tables(report["other_tables"])]
    for table, is_copied in report["is_copied"].items():
        copied = report["copied"].get(table, 0)
        lines.append(f"  copied {table}: {copied:,} rows{', complete' if is_copied else ''}")
    lines += [f"trigger {name} is missing or does not fire always" for name in report["triggers_off"]]
    if report["promotion_copies"] or report["promotion_constraints"]:
        lines.append("a promotion is under way or was interrupted: run it again, or `cleanup` drops what it left")
    if report["verified_at"]:
        lines.append(f"verified at {report['verified_at']:%Y-%m-%d %H:%M:%S} UTC")
    lines += [f"  {entry['at']:%Y-%m-%d %H:%M:%S} {entry['event']}" for entry in reversed(report["log"])]
    return "\n".join(lines)


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"  {row['name']}: {'partitioned' if row['is_partitioned'] else 'plain'}, {rows_text(row['rows'])}, "
        f"{row['bytes'] / MIB:,.1f} MiB"
        for row in rows
    ]


def rows_text(rows: int | None) -> str:
    """Return an estimated number of rows as text."""
    return "rows unknown until ANALYZE" if rows is None else f"about {rows:,} rows"


def verification_text(result: Verification) -> str:
    lines = []
    for table in result.tables:
        lines.append(
            f"{table.table}: {table.rows:,} and {table.other_rows:,} rows, {table.tenants:,} tenants, checksum "
            f"{table.checksum}" + ("" if table.checksum == table.other_checksum else f" and {table.other_checksum}")
        )
        if table.partitions:
            most = max(table.partitions.items(), key=lambda each: each[1])
            lines.append(f"  in {len(table.partitions)} partitions, most in {most[0]}: {most[1]:,}")
        lines += [f"  tenant {tenant} differs" for tenant in table.differing_tenants[:5]]
        lines += [f"  row differs: {row}" for row in table.differing_rows[:10]]
        if table.unmatched:
            lines.append(f"  {table.unmatched:,} deleted rows are not in the copy")
    lines += [f"trigger {name} is missing or does not fire always" for name in result.triggers_off]
    lines.append("both copies are equal, and all triggers fire" if result.is_ok else "the copies differ")
    return "\n".join(lines)
