"""Partition the tables of a database at once, for one that is empty or that no service uses.

`draftline partitions start` does it beside a running service.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..store.advisory_locks import AdvisoryLock
from ..store.time_limits import connect_unlimited
from .definitions import TableDefinition, read_definition
from .layout import MODULUS, TABLES, creation, qualified, quoted, renames, triggers
from .mode import Mode, table_modes
from .switch_state import check_no_switchover

NEW = "_new"
CONNECT_S = 60.0
LOCK_TIMEOUT = "SET lock_timeout = '10s'"


async def partition_tables(connection: Any, tenants: Iterable[str] = (), modulus: int = MODULUS) -> list[str]:
    """Partition the plain tables of the layout in one transaction, and return the statements that ran.

    The tables are locked until all rows are copied. Raise LayoutError while a switchover is under way.
    """
    await check_no_switchover(connection)
    tenants = list(tenants)
    ran: list[str] = []
    async with connection.transaction():
        plain = await _lock_plain(connection)
        definitions = [await read_definition(connection, table) for table in plain]
        for definition in definitions:
            for statement in conversion(definition, tenants, modulus):
                await connection.execute(statement)
                ran.append(statement)
    return ran


async def partition_if_empty(url: str) -> bool:
    """Partition the tables of a migrated database in which all of them are plain and empty. Return whether it was done.

    Must not be called for a database with an older schema. Several processes may call it at the same time.
    """
    connection = await connect_unlimited(url, CONNECT_S)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", AdvisoryLock.MIGRATION)
        await connection.execute(LOCK_TIMEOUT)
        async with connection.transaction():
            if await _lock_plain(connection) != list(TABLES):
                return False
            for table in TABLES:
                if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {qualified(table)})"):
                    return False
            await partition_tables(connection)
        return True
    finally:
        await connection.close(timeout=CONNECT_S)


async def _lock_plain(connection: Any) -> list[str]:
    """Lock the plain tables of the layout, and return their names."""
    modes = await table_modes(connection)
    plain = [table for table in TABLES if modes.get(table) is Mode.PLAIN]
    for table in plain:
        await connection.execute(f"LOCK TABLE {qualified(table)} IN ACCESS EXCLUSIVE MODE")
    return plain


def conversion(definition: TableDefinition, tenants: Iterable[str] = (), modulus: int = MODULUS) -> list[str]:
    """Return the statements that replace a table by a partitioned one with the same rows."""
    table, copy = definition.name, definition.name + NEW
    columns = ", ".join(map(quoted, definition.written))
    return [
        *creation(definition, NEW, tenants, modulus),
        f"INSERT INTO {qualified(copy)} ({columns}) SELECT {columns} FROM {qualified(table)}",
        *triggers(definition, copy),
        f"DROP TABLE {qualified(table)}",
        *renames(definition, NEW, ""),
    ]
