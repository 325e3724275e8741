"""Partition the tables of a database at once, for one that is empty or that no service uses.

`draftline partitions start` does it beside a running service.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .definitions import TableDefinition, read_definition
from .layout import MODULUS, TABLES, creation, qualified, quoted, renames, triggers
from .mode import Mode, table_modes
from .switch_state import check_no_switchover

NEW = "_new"


async def partition_tables(connection: Any, tenants: Iterable[str] = (), modulus: int = MODULUS) -> list[str]:
    """Partition the plain tables of the layout in one transaction, and return the statements that ran.

    The tables are locked until all rows are copied. Raise LayoutError while a switchover is under way.
    """
    await check_no_switchover(connection)
    tenants = list(tenants)
    ran: list[str] = []
    async with connection.transaction():
        modes = await table_modes(connection)
        plain = [table for table in TABLES if modes.get(table) is Mode.PLAIN]
        for table in plain:
            await connection.execute(f"LOCK TABLE {qualified(table)} IN ACCESS EXCLUSIVE MODE")
        definitions = [await read_definition(connection, table) for table in plain]
        for definition in definitions:
            for statement in conversion(definition, tenants, modulus):
                await connection.execute(statement)
                ran.append(statement)
    return ran


def conversion(definition: TableDefinition, tenants: Iterable[str] = (), modulus: int = MODULUS) -> list[str]:
    """Return the statements that replace a table by a partitioned one with the same rows."""
    table, copy = definition.name, definition.name + NEW
    columns = ", ".join(quoted(column.name) for column in definition.columns)
    return [
        *creation(definition, NEW, tenants, modulus),
        f"INSERT INTO {qualified(copy)} ({columns}) SELECT {columns} FROM {qualified(table)}",
        *triggers(definition, copy),
        f"DROP TABLE {qualified(table)}",
        *renames(definition, NEW, ""),
    ]
