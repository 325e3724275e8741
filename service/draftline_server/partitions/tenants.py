"""Remove a tenant with all its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg

from .copying import Progress, no_progress
from .definitions import LayoutError, fetch
from .layout import TABLES, literal, qualified, tenant_partition
from .mode import Mode, read_mode
from .obstacles import ObstacleError, removal_obstacles
from .promotion import drop_constraints
from .promotion_plan import constraint_removal
from .session import Session
from .switch_state import promotion_copies

EXCLUSIVE = "ACCESS EXCLUSIVE"
BATCH = 5_000  # rows that one transaction deletes
ROUNDS = 3  # after which rows that writes keep adding are reported
LAST = ("record", "request", "change")  # the large ones, and what others refer to


@dataclass(frozen=True, slots=True)
class Tenant:
    """The rows of a tenant in every table that has any."""

    tenant_id: str
    mode: Mode
    rows: dict[str, int]
    partitions: tuple[str, ...]  # those of its own
    constraints: tuple[str, ...] = ()  # the statements that drop what an interrupted promotion left

    @property
    def is_stored(self) -> bool:
        return bool(self.rows or self.partitions or self.constraints)


@dataclass(slots=True)
class Outcome:
    """The result of a command: the rows by table, and for how long the tables were locked."""

    rows: dict[str, int]
    locked_ms: float = 0.0


async def read_tenant(connection: Any, tenant_id: str) -> Tenant:
    """Count the rows of a tenant, in the tables that the catalogue lists."""
    tables = await _tables(connection)
    counts = {
        row["name"]: await connection.fetchval(
            f"SELECT count(*) FROM {qualified(row['name'])} WHERE tenant_id = $1",
            tenant_id,
        )
        for row in tables
    }
    leaves = {leaf for row in tables for leaf in row["leaves"]}
    own = [tenant_partition(table, tenant_id) for table in TABLES]
    return Tenant(
        tenant_id,
        await read_mode(connection),
        {name: count for name, count in counts.items() if count},
        tuple(name for name in own if name in leaves),
        tuple(each for found in (await constraint_removal(connection, tenant_id)).values() for each in found),
    )


async def _tables(connection: Any) -> list[Any]:
    """Return the tables with rows of tenants. Raise LayoutError during a switchover, which has two copies of some."""
    rows = await fetch(connection, "tenant_tables")
    copies = {f"{table}{suffix}" for table in TABLES for suffix in ("_new", "_old")}
    found = sorted(copies & {row["name"] for row in rows}) or await promotion_copies(connection)
    if found:
        raise LayoutError(f"there is a second copy of tables: {found[0]}", "run `draftline partitions cleanup` before")
    return rows


async def drop_tenant(session: Session, tenant: Tenant, max_lock_s: float, progress: Progress = no_progress) -> Outcome:
    """Remove all rows of a tenant: its own partitions at once, the rest in batches.

    Run again after an interruption. Raise LayoutError if the tenant still gets new rows at the end.
    """
    outcome, connection = Outcome(dict(tenant.rows)), session.connection
    removed = dict.fromkeys(tenant.rows, 0)

    def add(name: str, rows: int) -> None:
        removed[name] = removed.get(name, 0) + rows
        progress(name, removed[name], tenant.rows.get(name))

    found = await removal_obstacles(connection, list(tenant.partitions))
    if found:
        raise ObstacleError(found)
    await drop_constraints(session, tenant.tenant_id)
    if tenant.partitions:
        tables = [table for table in TABLES if tenant_partition(table, tenant.tenant_id) in tenant.partitions]
        outcome.locked_ms = await session.run_locked(tables, EXCLUSIVE, detachment(tenant), "drop-tenant", max_lock_s)
    for _ in range(ROUNDS):
        deleted = 0
        for name, leaf in await _leaves(connection):
            deleted += await _delete(connection, leaf, tenant.tenant_id, partial(add, name))
        if not deleted:
            break
    else:
        left = (await read_tenant(connection, tenant.tenant_id)).rows
        if left:
            message = f"tenant {tenant.tenant_id} gets new rows in {', '.join(left)}"
            raise LayoutError(message, "take its tokens and service keys away, and run the command again")
    await connection.execute("SET vacuum_cost_delay = '2ms'")  # slowly, beside the calls of others
    for name in [name for name, rows in removed.items() if rows]:  # statistics hold values of rows that are removed
        await connection.execute(f"ANALYZE {qualified(name)}")
    await session.log("tenant removed", rows=outcome.rows)  # the log keeps no name of a removed tenant
    return outcome


def detachment(tenant: Tenant) -> list[str]:
    """Return the statements that remove the partitions of a tenant."""
    statements = []
    for table in TABLES:
        own = tenant_partition(table, tenant.tenant_id)
        if own in tenant.partitions:
            statements += [
                f"ALTER TABLE {qualified(table)} DETACH PARTITION {qualified(own)}",
                f"DROP TABLE {qualified(own)}",
            ]
    return statements


async def drop_sql(connection: Any, tenant: Tenant) -> list[str]:
    """Return the statements that `drop_tenant` would run."""
    dropped = set(tenant.partitions)
    rest = [leaf for name, leaf in await _leaves(connection) if name in tenant.rows and leaf not in dropped]
    return [
        *tenant.constraints,
        *detachment(tenant),
        *(_deletion(leaf, literal(tenant.tenant_id), str(BATCH)) for leaf in rest),
    ]


async def _leaves(connection: Any) -> list[tuple[str, str]]:
    """Return the tables that hold rows, each with the table that it is part of, in the order of deletion.

    Specs go first, so that the service keeps nothing up to date that is being deleted, and the records late.
    """
    rows = await _tables(connection)
    places = {name: place for place, name in enumerate((*reversed(TABLES[1:]), *LAST), start=1)}
    found = [(row["name"], leaf) for row in rows for leaf in row["leaves"]]
    return sorted(found, key=lambda each: (places.get(each[0], 0), each))


def _deletion(leaf: str, tenant: str, limit: str) -> str:
    # Rows are found by their location, which is unique within one table but not across partitions.
    table = f"ONLY {qualified(leaf)}"
    return (
        f"DELETE FROM {table} WHERE tenant_id = {tenant} AND ctid = ANY (ARRAY("
        f"SELECT ctid FROM {table} WHERE tenant_id = {tenant} LIMIT {limit}))"
    )


async def _delete(connection: Any, leaf: str, tenant_id: str, report: Callable[[int], None]) -> int:
    statement, total = _deletion(leaf, "$1", "$2"), 0
    while True:
        try:
            deleted = int((await connection.execute(statement, tenant_id, BATCH)).split()[-1])
        except asyncpg.DeadlockDetectedError:
            continue
        except asyncpg.UndefinedTableError:  # a week of the change log was dropped
            return total
        total += deleted
        report(deleted)
        if deleted < BATCH:  # what is added meanwhile is deleted in the next round
            return total
