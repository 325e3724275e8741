"""Read what a copy of a table must have, from the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..domain.errors import OperatorError
from ..store.statements import load

SQL = load("partitions")


class LayoutError(OperatorError):
    """The tables are not as a command needs them. The message ends with what to do."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(f"{message}: {fix}" if fix else message)


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `options` are those of `ALTER COLUMN ... SET`, `target` is its statistics target, None by default."""

    name: str
    options: tuple[str, ...]
    target: int | None
    is_generated: bool


@dataclass(frozen=True, slots=True)
class Index:
    """An index, or the constraint that it belongs to.

    `definition` is what follows the table in `CREATE INDEX ... ON`, or the text of the constraint. `keys` are its
    columns and expressions, as SQL.
    """

    name: str
    definition: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    is_primary: bool
    is_constraint: bool
    is_unique: bool
    comment: str | None
    tablespace: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A privilege of a role; an empty role is PUBLIC, an empty column is the whole table."""

    role: str
    privilege: str
    column: str
    is_grantable: bool


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """A table of the service, as the catalogue describes it.

    `replica_identity` is one of pg_class.relreplident, and `triggers` are pairs of name and CREATE TRIGGER.
    `default_roles` get privileges on each table that the user creates, whether they have any on this one or not.
    A tablespace is None if it is that of the database.
    """

    name: str
    is_partitioned: bool
    owner: str | None  # None: the user of the connection
    options: tuple[str, ...]
    comment: str | None
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    grants: tuple[Grant, ...]
    triggers: tuple[tuple[str, str], ...]
    replica_identity: str
    replica_index: str | None
    tablespace: str | None
    default_roles: tuple[str, ...]

    @property
    def written(self) -> tuple[str, ...]:
        """The columns that an INSERT names; PostgreSQL computes the others."""
        return tuple(column.name for column in self.columns if not column.is_generated)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key; empty if there is none."""
        return next((index.columns for index in self.indexes if index.is_primary), ())


async def fetch(connection: Any, query: str, **values: object) -> list[Any]:
    """Return the rows of a statement of partitions.sql on a connection of asyncpg."""
    statement = SQL[query]
    rows: list[Any] = await connection.fetch(statement.sql, *statement.arguments(values))
    return rows


async def read_definition(connection: Any, name: str) -> TableDefinition:
    """Return the definition of a table. Raise LayoutError if there is none, or if it cannot be partitioned."""
    found = await fetch(connection, "table", name=name)
    if not found:
        raise LayoutError(f"the table draftline.{name} does not exist", "run `draftline migrate`")
    (table,) = found
    columns = await fetch(connection, "columns", name=name)
    definition = TableDefinition(
        name=name,
        is_partitioned=table["kind"] == "p",
        owner=None if table["owner"] == table["user_name"] else table["owner"],
        options=(*table["options"], *(f"toast.{option}" for option in table["toast_options"])),
        comment=table["comment"],
        columns=tuple(
            Column(row["name"], tuple(row["options"]), row["target"], row["is_generated"]) for row in columns
        ),
        indexes=tuple(_index(row) for row in await fetch(connection, "indexes", name=name)),
        grants=tuple(
            Grant(row["role"], row["privilege"], row["column_name"], row["is_grantable"])
            for row in await fetch(connection, "grants", name=name)
        ),
        triggers=tuple((row["name"], row["definition"]) for row in await fetch(connection, "triggers", name=name)),
        replica_identity=table["replica_identity"],
        replica_index=table["replica_index"],
        tablespace=table["tablespace"],
        default_roles=tuple(row["role"] for row in await fetch(connection, "default_roles")),
    )
    if table["persistence"] != "p":
        raise LayoutError(f"the table draftline.{name} is not logged", f"run ALTER TABLE draftline.{name} SET LOGGED")
    _check(definition, [row["name"] for row in columns if row["is_identity"]])
    return definition


def _index(row: Any) -> Index:
    return Index(
        name=row["name"],
        definition=row["definition"].strip(),
        columns=tuple(row["columns"]),
        keys=tuple(row["keys"]),
        is_primary=row["is_primary"],
        is_constraint=row["is_constraint"],
        is_unique=row["is_unique"],
        comment=row["comment"],
        tablespace=row["tablespace"],
    )


def _check(definition: TableDefinition, identities: list[str]) -> None:
    """Raise LayoutError if the table cannot be partitioned by tenant."""
    name = definition.name
    if not any(column.name == "tenant_id" for column in definition.columns):
        raise LayoutError(f"the table draftline.{name} has no column tenant_id")
    if identities:
        raise LayoutError(f"the column {identities[0]} of draftline.{name} is an identity column, which is not copied")
    for index in definition.indexes:
        if index.is_unique and "tenant_id" not in index.columns:
            message = f"the unique index {index.name} of draftline.{name} does not contain tenant_id"
            raise LayoutError(message, f"drop the index {index.name}, or add tenant_id to it")
