"""The statements that give a tenant its own partitions.

All rows of a tenant that has none are in one shared partition of each table. That partition is copied into two: one of
the tenant and one of the others, while triggers keep the copies in sync. Then the two take its place, under a lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from .copying import KeyedCopy, Progress, SnapshotCopy
from .definitions import LayoutError, TableDefinition, fetch, read_definition
from .layout import (
    TABLES,
    literal,
    parent_creation,
    properties,
    qualified,
    quoted,
    rest_of,
    storage,
    tenant_creation,
    tenant_partition,
)
from .mode import Mode, read_mode
from .pace import Pace
from .session import Session
from .switch_state import PROMOTION_COPY
from .switch_state import fetch as fetch_state
from .sync_triggers import COPY, OLD, Sync, function_removal, functions, removal, unmatched, unmatched_creation
from .sync_triggers import creation as trigger_creation

CHECKED = "rows_of_one_tenant"  # a constraint that spares PostgreSQL reading a partition to attach it


@dataclass(frozen=True, slots=True)
class Split:
    """The shared partition `leaf` of a table, and the two that take its place: of the tenant, and of the others."""

    definition: TableDefinition
    tenant_id: str
    leaf: str
    bound: str  # FOR VALUES WITH ...
    properties: TableDefinition  # those of the shared partition, which both get
    rows: int | None  # as PostgreSQL estimates them; None: it has no estimate
    sync: Sync

    @property
    def own(self) -> str:
        return tenant_partition(self.definition.name, self.tenant_id)

    @property
    def others(self) -> str:
        return self.leaf + COPY

    @property
    def replaced(self) -> str:
        """The shared partition when the two have taken its place."""
        return self.leaf + OLD

    @property
    def copy(self) -> str:
        """The parent of both until they are attached to the table."""
        return self.definition.name + COPY

    @property
    def triggers(self) -> list[str]:
        return trigger_creation(self.sync)

    def creation(self) -> list[str]:
        """Return the statements that create both, empty, as partitions of a table that the service does not use."""
        definition, tenant, others = self.definition, literal(self.tenant_id), qualified(self.others)
        created = f"CREATE TABLE {others} PARTITION OF {qualified(self.copy)} DEFAULT{storage(self.properties)}"
        comment = self.properties.comment
        return [
            *parent_creation(definition, COPY),
            f"COMMENT ON TABLE {qualified(self.copy)} IS {literal(PROMOTION_COPY)}",
            *tenant_creation(replace(self.properties, name=definition.name), self.tenant_id, self.copy),
            f"ALTER TABLE {qualified(self.own)} ADD CONSTRAINT {CHECKED} CHECK (tenant_id = {tenant})",
            created,
            f"ALTER TABLE {others} ADD CONSTRAINT {exclusion(self.tenant_id)} CHECK (tenant_id <> {tenant})",
            *([f"COMMENT ON TABLE {others} IS {literal(comment)}"] if comment is not None else []),
            *properties(self.properties, self.others, None, is_parent=False),
            *functions(self.sync),
            *([] if self.sync.key else unmatched_creation(self.sync)),
        ]

    def exchange(self) -> list[str]:
        """Return the statements that put both in the place of the shared partition.

        PostgreSQL reads the partition of the others once, because it cannot derive the hash of its tenants. Their
        constraint is dropped with the lock: without its partitions, the tenant would have its rows here again.
        """
        table, rest = qualified(self.definition.name), qualified(rest_of(self.definition.name))
        return [
            *removal(self.sync),
            f"ALTER TABLE {qualified(self.copy)} DETACH PARTITION {qualified(self.own)}",
            f"ALTER TABLE {qualified(self.copy)} DETACH PARTITION {qualified(self.others)}",
            f"ALTER TABLE {rest} DETACH PARTITION {qualified(self.leaf)}",
            f"ALTER TABLE {qualified(self.leaf)} RENAME TO {quoted(self.replaced)}",
            f"COMMENT ON TABLE {qualified(self.replaced)} IS {literal(PROMOTION_COPY)}",
            f"DROP TABLE {', '.join(map(qualified, [self.copy, *self._spare]))}",
            *function_removal(self.sync),
            f"ALTER TABLE {qualified(self.others)} RENAME TO {quoted(self.leaf)}",
            f"ALTER TABLE {rest} ATTACH PARTITION {qualified(self.leaf)} {self.bound}",
            f"ALTER TABLE {table} ATTACH PARTITION {qualified(self.own)} FOR VALUES IN ({literal(self.tenant_id)})",
            without_constraint(self.leaf, exclusion(self.tenant_id)),
        ]

    def removal(self) -> list[str]:
        """Return the statement that drops the shared partition when it is not used any more.

        It takes as long as the file system needs to delete its files.
        """
        return [f"DROP TABLE {qualified(self.replaced)}"]

    @property
    def _spare(self) -> list[str]:
        return [] if self.sync.key else [unmatched(self.definition)]


def exclusion(tenant_id: str) -> str:
    """Return the name of the constraint that a partition has no row of a tenant."""
    return tenant_partition("not", tenant_id)


def without_constraint(part: str, name: str) -> str:
    return f"ALTER TABLE {qualified(part)} DROP CONSTRAINT IF EXISTS {quoted(name)}"


@dataclass(slots=True)
class Promotion:
    """The steps that give a tenant its own partitions. Those that need a lock are listed by table.

    `exclusions` declare that the other shared partitions have no row of this tenant, and `validations` check it, one
    after another, while calls go on. PostgreSQL would otherwise read them all under the lock. `ends` drop these
    constraints at the end. Those of the shared partitions that a tenant never has rows in are harmless until then.
    """

    tenant_id: str
    splits: list[Split] = field(default_factory=list)
    exclusions: dict[str, list[str]] = field(default_factory=dict)
    validations: list[str] = field(default_factory=list)
    ends: dict[str, list[str]] = field(default_factory=dict)
    types: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def creation(self) -> list[str]:
        return [statement for split in self.splits for statement in split.creation()]

    @property
    def analyses(self) -> list[str]:
        return [f"ANALYZE {qualified(name)}" for split in self.splits for name in (split.own, split.others)]

    def copies(self, session: Session, pace: Pace, progress: Progress) -> Iterator[KeyedCopy | SnapshotCopy]:
        for split in self.splits:
            if split.sync.key:
                types = self.types[split.definition.name]
                yield KeyedCopy(session, split.sync, types, pace, progress, is_stored=False)
            else:
                yield SnapshotCopy(session, split.sync, pace, progress, is_stored=False)

    async def add(self, connection: Any, definition: TableDefinition) -> None:
        """Add a table."""
        tenant_id, name, table = self.tenant_id, exclusion(self.tenant_id), definition.name
        columns = await fetch_state(connection, "column_types", name=table)
        self.types[table] = {row["name"]: row["type"] for row in columns}
        required = frozenset(row["name"] for row in columns if row["is_required"])
        ends = [without_constraint(tenant_partition(table, tenant_id), CHECKED)]
        for row in await fetch(connection, "shared_leaves", rest=rest_of(table), constraint=name, tenant_id=tenant_id):
            if row["is_of_tenant"]:
                sync = Sync(
                    definition, table, table + COPY, f"{table}_to_own", required, row["name"], row["condition"]
                )  # fmt: skip
                own = await read_definition(connection, row["name"])
                self.splits.append(Split(definition, tenant_id, row["name"], row["bound"], own, row["rows"], sync))
                continue
            ends.append(without_constraint(row["name"], name))
            altered = f"ALTER TABLE {qualified(row['name'])}"
            if not row["has_constraint"]:
                check = f"CHECK (tenant_id <> {literal(tenant_id)}) NOT VALID"
                self.exclusions.setdefault(table, []).append(f"{altered} ADD CONSTRAINT {name} {check}")
            if not row["is_validated"]:
                self.validations.append(f"{altered} VALIDATE CONSTRAINT {name}")
        self.ends[table] = ends


async def promotion(connection: Any, tenant_id: str) -> Promotion:
    """Return the steps that move a tenant from the shared partitions into its own, in the tables that have none of it.

    There are none if the tenant has its own partitions. Raise LayoutError if the tables are not partitioned.
    """
    if await read_mode(connection) is not Mode.PARTITIONED:
        raise LayoutError("the tables are not partitioned", "run `draftline partitions start`")
    plan = Promotion(tenant_id)
    left = await constraint_removal(connection, tenant_id)
    for table in TABLES:
        leaves = {row["name"] for row in await fetch(connection, "partitions", name=table)}
        if tenant_partition(table, tenant_id) not in leaves:
            await plan.add(connection, await read_definition(connection, table))
        elif table in left:
            plan.ends[table] = left[table]
    return plan


async def constraint_removal(connection: Any, tenant_id: str | None = None) -> dict[str, list[str]]:
    """Return the statements that drop what is left of the constraints of promotions, by table: of one tenant or all."""
    found: dict[str, list[str]] = {}
    for row in await fetch(connection, "promotion_constraints", checked=CHECKED):
        own = tenant_partition(row["table"], tenant_id) if tenant_id is not None else None
        if own is None or row["name"] == exclusion(tenant_id or "") or (row["part"], row["name"]) == (own, CHECKED):
            found.setdefault(row["table"], []).append(without_constraint(row["part"], row["name"]))
    return {table: found[table] for table in TABLES if table in found}
