"""Counts and checksums of the rows of a database, to compare it before and after a migration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .sessions import fetch, quoted

# The columns that callers see. A migration to a newer revision keeps their values.
PUBLIC: Mapping[str, frozenset[str]] = {
    table: frozenset(columns.split())
    for table, columns in {
        "record": "tenant_id collection record_id content version parent_id position created_at created_by updated_at "
        "updated_by deleted_at",
        "draft": "tenant_id user_id collection record_id kind edit base base_version merged version session_id "
        "change_reason created_at updated_at attributes",
        "change": "tenant_id log_xact change_id collection record_id version kind source edit base attributes user_id "
        "session_id commit_id change_reason request_id created_at",
        "collection": "tenant_id collection fields orders json_schema version created_at updated_at history statistics "
        "relations",
    }.items()
}


REVISION_TABLE = "alembic_version"


@dataclass(frozen=True, slots=True)
class Content:
    """The number of rows of a table, and by column a checksum of the values with the primary keys of their rows."""

    rows: int
    checksums: Mapping[str, str | None]
    types: Mapping[str, str]


async def read_contents(connection: Any) -> dict[str, Content]:
    """Return the contents of the tables, by name, except the revision. A partitioned table is one table."""
    columns = {row["name"]: row for row in await fetch(connection, "columns")}
    found = {}
    for relation in await fetch(connection, "relations"):
        if not relation["is_partition"] and relation["name"] != REVISION_TABLE:
            found[relation["name"]] = await _read(connection, columns[relation["name"]])
    return found


async def _read(connection: Any, table: Any) -> Content:
    names = list(table["columns"] or ())
    key = "".join(f"{quoted(name)}, " for name in table["key"])
    sums = "".join(f", sum(hashtextextended(ROW({key}{quoted(name)})::text, 0))::text" for name in names)
    row = await connection.fetchrow(
        f"SELECT count(*){sums} FROM draftline.{quoted(table['name'])}"  # noqa: S608  (quoted names of the catalogue)
    )
    return Content(row[0], dict(zip(names, list(row)[1:], strict=True)), json.loads(table["types"]))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table before and after a migration; None: the table does not exist. `changed` are columns that both have."""

    table: str
    rows_before: int | None
    rows_after: int | None
    changed: tuple[str, ...]
    dropped: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        return self.rows_before == self.rows_after and not self.changed and not self.dropped


def compare_contents(before: Mapping[str, Content], after: Mapping[str, Content]) -> list[Comparison]:
    """Return the comparison of each table; tables that do not exist afterwards come first."""
    gone = [
        Comparison(name, content.rows, None, (), tuple(content.checksums))
        for name, content in before.items()
        if name not in after
    ]
    return [*gone, *(_compare(name, before.get(name), content) for name, content in after.items())]


def _compare(name: str, before: Content | None, after: Content) -> Comparison:
    if before is None:
        return Comparison(name, None, after.rows, (), ())
    common = [column for column in before.checksums if column in after.checksums]
    changed = tuple(
        column
        for column in common
        if (before.checksums[column], before.types[column]) != (after.checksums[column], after.types[column])
    )
    dropped = tuple(column for column in before.checksums if column not in after.checksums)
    return Comparison(name, before.rows, after.rows, changed, dropped)


def losses(comparisons: list[Comparison], *, is_upgrade: bool) -> list[str]:
    """Return what the callers of the service would lose, as sentences.

    A downgrade removes what docs/upgrading.md lists, but changes no record.
    """
    return [
        sentence
        for each in comparisons
        if is_upgrade or each.table == "record"
        for sentence in _losses(each)
    ]  # fmt: skip


def _losses(each: Comparison) -> list[str]:
    public = PUBLIC.get(each.table, frozenset())
    found = []
    if each.rows_before and each.rows_after is None:
        found.append(f"the migration removes the table {each.table} with {each.rows_before:,} rows")
    elif each.rows_before is not None and each.rows_after is not None:
        if each.rows_after < each.rows_before and (public or not _is_derived(each.table)):
            found.append(f"the migration removes {each.rows_before - each.rows_after:,} rows of {each.table}")
        elif each.rows_after > each.rows_before and public:
            found.append(f"the migration adds {each.rows_after - each.rows_before:,} rows to {each.table}")
        values = [name for name in each.changed if name in public]
        if values and each.rows_before == each.rows_after:
            found.append(f"the migration changes values of {each.table} in {', '.join(values)}")
        dropped = [name for name in each.dropped if name in public]
        if dropped and each.rows_before:
            found.append(f"the migration removes columns of {each.table}: {', '.join(dropped)}")
    return found


def _is_derived(table: str) -> bool:
    """Return whether the service derives the table from others, and builds it again."""
    return table.endswith("order_entry") or table in {"tally", "tenant_usage"}
