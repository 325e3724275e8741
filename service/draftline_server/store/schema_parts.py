"""The parts of the schema that the service needs and the database lacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Table
from sqlalchemy.schema import CreateIndex

from .database import Database
from .statements import DIALECT, called_functions, load
from .tables import SEQUENCES, TYPES, metadata

SQL = load("database")
NAMED = 5  # parts that a message names at most
RESTORE = "restore a complete dump into an empty database"
Find = Callable[[str, list[str]], Awaitable[list[str]]]  # runs a statement; returns those of the names that it misses


@dataclass(frozen=True)
class MissingParts:
    """The parts that calls need and the schema lacks: their names by kind, such as "table"."""

    names: Mapping[str, Sequence[str]]

    def __bool__(self) -> bool:
        return any(self.names.values())

    def __str__(self) -> str:
        return "; ".join(f"{kind} {some(names)}" for kind, names in self.names.items() if names)

    @property
    def without_functions(self) -> MissingParts:
        """The parts that `draftline migrate` does not create again."""
        return MissingParts({kind: names for kind, names in self.names.items() if kind != "function"})

    @property
    def fix(self) -> str:
        """The advice for an operator: for functions, for indexes, and for parts that hold data."""
        lacking = [kind for kind, names in self.names.items() if names]
        if lacking == ["function"]:
            return "run `draftline migrate`, which creates them again"
        if set(lacking) <= {"unique index", "function"}:
            statements = {name: sql for table in _tables() for name, sql in _indexes(table, is_unique=True)}
            return f"run `{statements[self.names['unique index'][0]]}`, likewise for each, then `draftline migrate`"
        return RESTORE


async def missing_parts(find: Find) -> MissingParts:
    """Return what the schema lacks of what calls need."""
    tables = await find("missing_relations", [table.name for table in _tables()])
    present = [table for table in _tables() if table.name not in tables]
    columns = [f"{table.name}.{column.name}" for table in present for column in table.columns]
    unique = [name for table in present for name, _ in _indexes(table, is_unique=True)]
    return MissingParts({
        "type": await find("missing_types", list(TYPES)),
        "sequence": await find("missing_relations", list(SEQUENCES)),
        "table": tables,
        "column": await find("missing_columns", columns),
        "unique index": await find("missing_relations", unique),
        "function": await find("missing_functions", list(called_functions())),
    })  # fmt: skip


async def missing_indexes(find: Find) -> dict[str, str]:
    """Return the declared indexes that do not exist: by name, the statement that creates each."""
    declared = {name: sql for table in _tables() for name, sql in _indexes(table, is_unique=False)}
    return {name: declared[name] for name in await find("missing_relations", list(declared))}


def find_in(database: Database) -> Find:
    """Return a function that runs the statements on a pooled connection."""

    async def find(statement: str, names: list[str]) -> list[str]:
        return [row["name"] for row in await database.fetch(SQL[statement], {"names": names}, idempotent=True)]

    return find


def _tables() -> Collection[Table]:
    return metadata.tables.values()


def _indexes(table: Table, *, is_unique: bool) -> Iterator[tuple[str, str]]:
    """Yield the name of each index, and its statement; the primary key counts as a unique one."""
    if is_unique and table.primary_key.columns:
        columns = ", ".join(table.primary_key.columns.keys())
        name = f"{table.name}_pkey"
        yield name, f"ALTER TABLE draftline.{table.name} ADD CONSTRAINT {name} PRIMARY KEY ({columns})"
    for index in table.indexes:
        if index.unique is is_unique or not is_unique:
            yield str(index.name), " ".join(str(CreateIndex(index).compile(dialect=DIALECT)).split())


def some(names: Sequence[str]) -> str:
    """Return the first names, and how many there are besides."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
