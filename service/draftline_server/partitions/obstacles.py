"""The obstacles to a switchover: each is named before anything is changed."""

from __future__ import annotations

from typing import Any

from ..store.advisory_locks import AdvisoryLock, LockFamily
from .definitions import LayoutError, TableDefinition, read_definition
from .layout import TABLES, hash_partition, rest_of, tenant_partition
from .switch_state import fetch
from .sync_triggers import COPY, OLD, Sync

FIXES = {
    "publication": "ALTER PUBLICATION ... DROP TABLE, and add the table again after the switch",
    "subscription": "logical replication fires no statement triggers: drop the subscription",
    "foreign key": "drop the foreign key; it refers to the table and not to its name",
    "view": "drop the view, and create it again after the switch",
    "materialized view": "drop the view, and create it again after the switch",
    "rule": "drop the rule",
    "policy": "drop the policy",
    "trigger": "drop the trigger, and create it again after the switch",
    "function": "give the function a string body (AS $$...$$), or drop it until after the switch",
    "extended statistics": "drop the statistics object, and create it again after the switch",
    "index of an earlier version": "wait until the service has built the entries of its order and drops it",
    "row security": "ALTER TABLE ... DISABLE ROW LEVEL SECURITY, and NO FORCE ROW LEVEL SECURITY",
    "constraint that is not validated": "ALTER TABLE ... VALIDATE CONSTRAINT, or drop it",
    "constraint without inheritance": "partitions would not have it: drop it, and add it without NO INHERIT",
    "exclusion constraint": "drop it; partitioned tables do not have them in all versions of PostgreSQL",
    "deferrable constraint": "the copy needs ON CONFLICT: make it NOT DEFERRABLE",
    "object": "it refers to the table or to its row type by identity: drop it until after the switch",
    "index of the partition": "drop it, or create it on the table",
    "constraint of the partition": "drop it, or add it to the table",
    "tablespace of the partition": "ALTER TABLE ... SET TABLESPACE to that of the table",
    "child table": "drop the child table or its inheritance",
}
DEPENDENT = ("view", "materialized view", "foreign key", "function")


class ObstacleError(LayoutError):
    """Something in the database does not allow the step. Nothing was changed."""

    def __init__(self, obstacles: list[str]) -> None:
        listed = "".join(f"\n  {obstacle}" for obstacle in obstacles)
        super().__init__(f"nothing was changed, because of:{listed}")
        self.obstacles = obstacles


async def obstacles(connection: Any, oldest_service: str, own: list[Sync]) -> list[str]:
    """Return what prevents a start or a switch, as sentences with what to do."""
    rows = await fetch(
        connection, "obstacles", names=list(TABLES), own=[name for sync in own for name in sync.triggers]
    )
    found = [f"{row['kind']} {row['name']} on {row['on_table']}: {FIXES[row['kind']]}" for row in rows]
    found += [
        f"table {row['name']} belongs to {row['owner']}: run the command as that role"
        for row in await fetch(connection, "not_owned", names=list(TABLES))
    ]
    return [*found, *await old_services(connection, oldest_service)]


async def part_obstacles(connection: Any, parts: list[str]) -> list[str]:
    """Return what refers to partitions that are about to be dropped, and what writes to the tables without triggers."""
    rows = [
        *await fetch(connection, "obstacles", names=parts, own=[]),
        *await fetch(connection, "own_properties", names=parts),
        *(
            row
            for row in await fetch(connection, "obstacles", names=list(TABLES), own=[])
            if row["kind"] == "subscription"
        ),
    ]
    return [f"{row['kind']} {row['name']} on {row['on_table']}: {FIXES[row['kind']]}" for row in rows]


async def removal_obstacles(connection: Any, parts: list[str]) -> list[str]:
    """Return what refers to partitions that are about to be dropped, and would have to be dropped with them."""
    rows = await fetch(connection, "obstacles", names=parts, own=[])
    return [f"{row['kind']} {row['name']} on {row['on_table']}: drop it" for row in rows if row["kind"] in DEPENDENT]


async def old_services(connection: Any, oldest_service: str) -> list[str]:
    keys = {"key": AdvisoryLock.SERVICE, "family": LockFamily.SERVICE_REVISION}
    rows = await fetch(connection, "old_services", **keys, oldest=oldest_service)
    return [
        f"service {row['application'] or 'without a name'} at {row['address'] or 'a local socket'} (PostgreSQL's pid "
        f"{row['pid']}) was made for revision {row['revision'] or 'unknown'}, partitions need {oldest_service}: "
        "upgrade it first"
        for row in rows
    ]


async def names_in_use(connection: Any, tenants: list[str], modulus: int) -> list[str]:
    """Return obstacles for tables that have a name which the copies will use."""
    names = [name + suffix for name in TABLES for suffix in (COPY, OLD, "_unmatched")]
    for table in TABLES:
        names += [rest_of(table), *(hash_partition(table, remainder) for remainder in range(modulus))]
        names += [tenant_partition(table, tenant_id) for tenant_id in tenants]
    rows = await fetch(connection, "existing", names=names)
    return [f"table {row['name']} exists, and its name is needed: rename or drop it" for row in rows]


async def drift(connection: Any, definition: TableDefinition, other_suffix: str) -> list[str]:
    """Return how the other copy of a table differs from it in all that must be the same after a switch."""
    table, other = definition.name, definition.name + other_suffix
    copy = await read_definition(connection, other)
    texts = {
        name: {row["text"] for row in await fetch(connection, "constraints", name=name)} for name in (table, other)
    }
    found = [f"{text} of {table} differs in {other}" for text in sorted(texts[table] ^ texts[other])]
    pairs: dict[str, tuple[object, object]] = {
        "owner": (definition.owner, copy.owner),
        "comment": (definition.comment, copy.comment),
        "tablespace": (definition.tablespace, copy.tablespace),
        "storage options": (sorted(definition.options), sorted(copy.options)),
        "grants": (set(definition.grants), set(copy.grants)),
        "indexes": (_indexes(definition, ""), _indexes(copy, other_suffix)),
        "statistics targets": (_targets(definition), _targets(copy)),
        "replica identity": (definition.replica_identity, copy.replica_identity),
    }
    return [*found, *(f"the {what} of {table} and {other} differ" for what, (a, b) in pairs.items() if a != b)]


def _indexes(definition: TableDefinition, suffix: str) -> set[tuple[object, ...]]:
    return {
        (index.name.removesuffix(suffix), index.definition, index.is_unique, index.comment, index.tablespace)
        for index in definition.indexes
    }


def _targets(definition: TableDefinition) -> list[tuple[object, ...]]:
    """n_distinct of all partitions together is an option of partitioned tables only."""
    return [
        (column.name, column.target, [each for each in column.options if not each.startswith("n_distinct_inherited=")])
        for column in definition.columns
    ]
