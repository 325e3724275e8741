"""Give a tenant its own partitions while the service goes on.

All rows of a tenant that has none are in one shared partition of each table. That partition is copied into two: one of
the tenant and one of the others, while triggers keep the copies in sync. Then the two take its place, under a lock.
Nothing is stored about the progress: a command that was interrupted leaves copies, which the next one drops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

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
from .obstacles import ObstacleError, part_obstacles
from .pace import Pace
from .session import LockError, Session
from .switch_state import PROMOTION_COPY, Phase, State, check_no_switchover, promotion_copies
from .switch_state import fetch as fetch_state
from .sync_triggers import COPY, Sync, function_removal, functions, removal, unmatched, unmatched_creation
from .sync_triggers import creation as trigger_creation
from .verification import verify

WRITES, ALL = "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"
LAST_ATTEMPTS = 10  # to drop the copies after an error
CHECKED = "rows_of_one_tenant"  # a constraint that spares PostgreSQL reading a partition to attach it


@dataclass(frozen=True, slots=True)
class Split:
    """The shared partition `leaf` of a table, and the two that take its place: of the tenant, and of the others."""

    definition: TableDefinition
    tenant_id: str
    leaf: str
    bound: str  # FOR VALUES WITH ...
    sync: Sync

    @property
    def own(self) -> str:
        return tenant_partition(self.definition.name, self.tenant_id)

    @property
    def others(self) -> str:
        return self.leaf + COPY

    @property
    def copy(self) -> str:
        """The parent of both until they are attached to the table."""
        return self.definition.name + COPY

    def creation(self) -> list[str]:
        """Return the statements that create both, empty, as partitions of a table that the service does not use."""
        definition, tenant = self.definition, literal(self.tenant_id)
        return [
            *parent_creation(definition, COPY),
            f"COMMENT ON TABLE {qualified(self.copy)} IS {literal(PROMOTION_COPY)}",
            *tenant_creation(definition, self.tenant_id, self.copy),
            f"ALTER TABLE {qualified(self.own)} ADD CONSTRAINT {CHECKED} CHECK (tenant_id = {tenant})",
            f"CREATE TABLE {qualified(self.others)} PARTITION OF {qualified(self.copy)} DEFAULT{storage(definition)}",
            f"ALTER TABLE {qualified(self.others)} "
            f"ADD CONSTRAINT {exclusion(self.tenant_id)} CHECK (tenant_id <> {tenant})",
            *properties(definition, self.others, None, is_parent=False),
            *functions(self.sync),
            *([] if self.sync.key else unmatched_creation(self.sync)),
        ]

    def exchange(self) -> list[str]:
        """Return the statements that put both in the place of the shared partition.

        PostgreSQL reads the partition of the others once, because it cannot derive the hash of its tenants.
        """
        table, rest = qualified(self.definition.name), qualified(rest_of(self.definition.name))
        return [
            *removal(self.sync),
            f"ALTER TABLE {qualified(self.copy)} DETACH PARTITION {qualified(self.own)}",
            f"ALTER TABLE {qualified(self.copy)} DETACH PARTITION {qualified(self.others)}",
            f"ALTER TABLE {rest} DETACH PARTITION {qualified(self.leaf)}",
            f"DROP TABLE {', '.join(map(qualified, [self.copy, self.leaf, *self._spare]))}",
            *function_removal(self.sync),
            f"ALTER TABLE {qualified(self.others)} RENAME TO {quoted(self.leaf)}",
            f"ALTER TABLE {rest} ATTACH PARTITION {qualified(self.leaf)} {self.bound}",
            f"ALTER TABLE {table} ATTACH PARTITION {qualified(self.own)} FOR VALUES IN ({literal(self.tenant_id)})",
            f"ALTER TABLE {qualified(self.own)} DROP CONSTRAINT {CHECKED}",
        ]

    @property
    def _spare(self) -> list[str]:
        return [] if self.sync.key else [unmatched(self.definition)]


def exclusion(tenant_id: str) -> str:
    """Return the name of the constraint that a partition has no row of a tenant."""
    return tenant_partition("not", tenant_id)


@dataclass(slots=True)
class Promotion:
    """The statements that give a tenant its own partitions.

    `exclusions` declare that the other shared partitions have no row of this tenant, and `validations` check it, one
    after another, while calls go on. PostgreSQL would otherwise read them all under the lock.
    """

    tenant_id: str
    splits: list[Split] = field(default_factory=list)
    exclusions: list[str] = field(default_factory=list)
    validations: list[str] = field(default_factory=list)
    types: dict[str, dict[str, str]] = field(default_factory=dict)
    _ends: list[str] = field(default_factory=list)

    @property
    def creation(self) -> list[str]:
        return [statement for split in self.splits for statement in split.creation()]

    @property
    def triggers(self) -> list[str]:
        return [statement for split in self.splits for statement in trigger_creation(split.sync)]

    @property
    def exchange(self) -> list[str]:
        return [*(statement for split in self.splits for statement in split.exchange()), *self._ends]

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
        tenant_id, name = self.tenant_id, exclusion(self.tenant_id)
        columns = await fetch_state(connection, "column_types", name=definition.name)
        self.types[definition.name] = {row["name"]: row["type"] for row in columns}
        required = frozenset(row["name"] for row in columns if row["is_required"])
        rest = rest_of(definition.name)
        for row in await fetch(connection, "shared_leaves", rest=rest, constraint=name, tenant_id=tenant_id):
            altered = f"ALTER TABLE {qualified(row['name'])}"
            self._ends.append(f"{altered} DROP CONSTRAINT {name}")
            if row["is_of_tenant"]:
                sync = Sync(
                    definition, definition.name, definition.name + COPY, f"{definition.name}_to_own", required,
                    row["name"], row["condition"],
                )  # fmt: skip
                self.splits.append(Split(definition, tenant_id, row["name"], row["bound"], sync))
                continue
            if not row["has_constraint"]:
                check = f"CHECK (tenant_id <> {literal(tenant_id)}) NOT VALID"
                self.exclusions.append(f"{altered} ADD CONSTRAINT {name} {check}")
            if not row["is_validated"]:
                self.validations.append(f"{altered} VALIDATE CONSTRAINT {name}")


async def promotion(connection: Any, tenant_id: str) -> Promotion:
    """Return the statements that move a tenant from the shared partitions into its own.

    Raise LayoutError if the tables are not partitioned, during a switchover, or if the tenant has its own partitions.
    """
    if await read_mode(connection) is not Mode.PARTITIONED:
        raise LayoutError("the tables are not partitioned", "run `draftline partitions start`")
    plan = Promotion(tenant_id)
    for table in TABLES:
        own = tenant_partition(table, tenant_id)
        leaves = {row["name"] for row in await fetch(connection, "partitions", name=table)}
        if own not in leaves:
            await plan.add(connection, await read_definition(connection, table))
    if not plan.splits:
        raise LayoutError(f"tenant {tenant_id} has its own partitions already")
    return plan


async def promote(
    session: Session, tenant_id: str, max_lock_s: float, pace: Pace, progress: Progress
) -> tuple[dict[str, int], float]:
    """Move a tenant into its own partitions. Return its rows by table, and for how many ms the tables were locked."""
    connection = session.connection
    if await promotion_copies(connection):
        await drop_leftovers(session)
    else:
        await check_no_switchover(connection)
    plan = await promotion(connection, tenant_id)
    await _check(connection, plan)
    if session.dry_run:
        session.sql += [*plan.exclusions, *plan.validations, *plan.creation, *plan.triggers]
        session.sql += [each for copy in plan.copies(session, pace, progress) if isinstance(copy, KeyedCopy)
                        for each in copy.statements(True)]  # fmt: skip
        session.sql += [*plan.analyses, *plan.exchange]
        return {}, 0.0
    await pace.begin(session.report)
    if plan.exclusions:
        await session.run_locked(TABLES, ALL, plan.exclusions, "prepare promote", max_lock_s)
    for statement in plan.validations:
        await connection.execute(statement)
    try:
        rows = await _copy(session, plan, pace, progress)
        locked_ms = await session.run_locked(TABLES, ALL, plan.exchange, "promote", max_lock_s, rows=rows)
    except (LayoutError, asyncpg.PostgresError):
        session.attempts = min(session.attempts, LAST_ATTEMPTS)
        with suppress(LockError):  # then the next command drops them
            await drop_leftovers(session)
        raise
    return rows, locked_ms


async def _check(connection: Any, plan: Promotion) -> None:
    """Raise ObstacleError if something refers to a partition that is dropped, or writes without triggers."""
    found = await part_obstacles(connection, [split.leaf for split in plan.splits])
    if found:
        raise ObstacleError(found)


async def _copy(session: Session, plan: Promotion, pace: Pace, progress: Progress) -> dict[str, int]:
    """Create the copies, fill them, and compare them with the shared partitions. Return the tenant's rows by table."""
    connection = session.connection
    await session.run(plan.creation)
    await session.run_locked(TABLES, WRITES, plan.triggers, "promote: the copies are kept in sync")
    state = State()
    for copy in plan.copies(session, pace, progress):
        await copy.run(state)
        name = copy.sync.definition.name
        await session.log(f"promote: copied {copy.sync.copied}", rows=state.copied.get(name, 0))
    for statement in plan.analyses:
        await connection.execute(statement)
    xact = (await fetch_state(connection, "current_xact"))[0]["xact"]
    result = await verify(connection, Phase.DONE, [split.sync for split in plan.splits], lambda *_: None)
    await session.log("promote: verified" if result.is_ok else "promote: verification failed", tables=result.summary())
    if not result.is_ok:
        raise LayoutError("the copies differ from the shared partitions", "nothing was changed; run the command again")
    await session.no_old_snapshots(xact)
    return {
        split.definition.name: await connection.fetchval(f"SELECT count(*) FROM {qualified(split.own)}")
        for split in plan.splits
    }


async def drop_leftovers(session: Session) -> bool:
    """Drop what an interrupted promotion left. Return whether there was anything."""
    connection = session.connection
    found = await promotion_copies(connection)
    if not found:
        return False
    syncs = []
    for table in TABLES:
        definition = await read_definition(connection, table)
        syncs.append(Sync(definition, table, table + COPY, f"{table}_to_own", frozenset()))
    spare = [unmatched(sync.definition) for sync in syncs if not sync.key]
    statements = [
        *(statement for sync in syncs for statement in removal(sync)),
        f"DROP TABLE IF EXISTS {', '.join(map(qualified, [*found, *spare]))}",
        *(statement for sync in syncs for statement in function_removal(sync)),
    ]
    await session.run_locked(TABLES, ALL, statements, "promote: dropped the copies of an interrupted command")
    return True
