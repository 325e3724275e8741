"""The parts of the schema that the service needs and the database lacks: tables, columns, functions, indexes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Table
from sqlalchemy.schema import CreateIndex

from .database import Database
from .statements import DIALECT, called_functions, load
from .tables import metadata

SQL = load("database")
NAMED = 5  # parts that a message names at most


async def missing_parts(database: Database) -> str:
    """Return what the schema lacks of what calls need, as a list for a message; empty if it is complete."""
    tables = await _missing(database, "missing_relations", (table.name for table in metadata.tables.values()))
    present = [table for table in metadata.tables.values() if table.name not in tables]
    columns = (f"{table.name}.{column.name}" for table in present for column in table.columns)
    unique = (name for table in present for name, _ in _indexes(table, is_unique=True))
    kinds = {
        "table": tables,
        "column": await _missing(database, "missing_columns", columns),
        "unique index": await _missing(database, "missing_relations", unique),
        "function": await _missing(database, "missing_functions", called_functions()),
    }
    return "; ".join(f"{kind} {some(names)}" for kind, names in kinds.items() if names)


async def missing_indexes(database: Database) -> dict[str, str]:
    """Return the declared indexes that do not exist: by name, the statement that creates each."""
    declared = {name: sql for table in metadata.tables.values() for name, sql in _indexes(table, is_unique=False)}
    return {name: declared[name] for name in await _missing(database, "missing_relations", declared)}


def _indexes(table: Table, *, is_unique: bool) -> Iterator[tuple[str, str]]:
    """Yield the name of each index, and its statement; the primary key counts as a unique one."""
    if is_unique and table.primary_key.columns:
        columns = ", ".join(table.primary_key.columns.keys())
        name = f"{table.name}_pkey"
        yield name, f"ALTER TABLE draftline.{table.name} ADD CONSTRAINT {name} PRIMARY KEY ({columns})"
    for index in table.indexes:
        if index.unique is is_unique or not is_unique:
            yield str(index.name), " ".join(str(CreateIndex(index).compile(dialect=DIALECT)).split())


def some(names: list[str]) -> str:
    """Return the first names, and how many there are besides."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


async def _missing(database: Database, statement: str, names: Iterable[str]) -> list[str]:
    values: dict[str, object] = {"names": sorted(names)}
    return [row["name"] for row in await database.fetch(SQL[statement], values, idempotent=True)]
