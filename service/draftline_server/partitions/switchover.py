"""The steps of a switchover from plain to partitioned tables, beside a running service.

Each step stores its phase in the transaction that does it, so a command that was interrupted is run again.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .copying import KeyedCopy, Progress, SnapshotCopy, no_progress
from .definitions import LayoutError, TableDefinition, read_definition
from .layout import TABLES, creation, literal, qualified, renames
from .mode import Mode, read_mode
from .obstacles import ObstacleError, drift, names_in_use, obstacles
from .pace import Pace
from .promotion import drop_leftovers
from .session import Session
from .switch_state import COPIED_ALL, Phase, State, fetch, phase_change, read_state
from .sync_triggers import (
    COPY,
    OLD,
    Sync,
    backward,
    forward,
    function_removal,
    functions,
    removal,
    unmatched,
    unmatched_creation,
)
from .sync_triggers import creation as trigger_creation
from .verification import Verification, comparison_sql, triggers_off, verify

OLDEST_SERVICE = "0025"  # the first revision whose services know partitioned tables
WRITES, ALL = "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"
NEXT: Mapping[Phase, str] = {
    Phase.NONE: "`draftline partitions start`",
    Phase.CREATED: "`draftline partitions start`, which resumes",
    Phase.SYNCED: "`draftline partitions start`, which resumes",
    Phase.COPIED: "`draftline partitions verify`, then `switch`; or `cleanup`, which drops the copies",
    Phase.SWITCHED: "`draftline partitions verify`, then `cleanup`, which drops the plain tables; or `rollback`",
    Phase.DROPPING_COPY: "`draftline partitions cleanup`, which resumes",
    Phase.DROPPING_OLD: "`draftline partitions cleanup`, which resumes",
    Phase.DONE: "nothing; the switchover is complete",
}


def next_step(phase: Phase, mode: Mode) -> str:
    """Return the command that follows, as a sentence without its beginning."""
    if phase is Phase.NONE and mode is Mode.PARTITIONED:
        return "nothing; the tables are partitioned, without a switchover"
    return NEXT[phase]


class PhaseError(LayoutError):
    """The command does not fit the phase of the switchover."""

    def __init__(self, command: str, phase: Phase, mode: Mode) -> None:
        super().__init__(f"`{command}` is not possible in phase {phase}", f"next is {next_step(phase, mode)}")


@dataclass(slots=True)
class Switchover:
    """The commands, on a session. `definitions` are those of the tables in use; `load` reads them."""

    session: Session
    progress: Progress = no_progress
    state: State = field(default_factory=State)
    mode: Mode = Mode.PLAIN
    definitions: list[TableDefinition] = field(default_factory=list)
    types: dict[str, dict[str, str]] = field(default_factory=dict)
    forward: list[Sync] = field(default_factory=list)
    backward: list[Sync] = field(default_factory=list)

    async def load(self) -> None:
        """Read the state and the tables. Raise LayoutError if the schema is older than the tool."""
        connection = self.session.connection
        if not (await fetch(connection, "has_state"))[0]["has_state"]:
            raise LayoutError("the schema is one of an older version", "run `draftline migrate`")
        self.state, self.mode = await read_state(connection), await read_mode(connection)
        self.definitions = [await read_definition(connection, table) for table in TABLES]
        self.forward, self.backward = [], []
        for definition in self.definitions:
            columns = await fetch(connection, "column_types", name=definition.name)
            self.types[definition.name] = {row["name"]: row["type"] for row in columns}
            required = frozenset(row["name"] for row in columns if row["is_required"])
            self.forward.append(forward(definition, required))
            self.backward.append(backward(definition, required))

    async def start(self, tenants: Iterable[str], modulus: int, pace: Pace) -> None:
        """Create the copies, keep them in sync by triggers, and copy all rows. Resume after an interruption."""
        if not self.session.dry_run:
            await pace.begin(self.session.report)
        if self.state.phase is Phase.NONE:
            await self.create(list(dict.fromkeys(tenants)), modulus)
        if self.state.phase is Phase.CREATED:
            await self.sync()
        if self.state.phase is Phase.SYNCED:
            await self.copy(pace)
        elif self.state.phase is not Phase.COPIED:
            raise PhaseError("start", self.state.phase, self.mode)

    async def create(self, tenants: list[str], modulus: int) -> None:
        """Create the empty copies."""
        if self.mode is not Mode.PLAIN:
            raise LayoutError(f"the tables are {self.mode} already", "`draftline partitions status` shows them")
        await self._check(await names_in_use(self.session.connection, tenants, modulus))
        statements = [
            statement for definition in self.definitions for statement in creation(definition, COPY, tenants, modulus)
        ]
        array = f"ARRAY[{', '.join(map(literal, tenants))}]::text[]"
        await self.session.run([
            *statements,
            "INSERT INTO draftline.partition_switch (phase, modulus, tenants, started_at, changed_at) "
            f"VALUES ('{Phase.CREATED}', {modulus}, {array}, clock_timestamp(), clock_timestamp())",
        ])  # fmt: skip
        self.state.phase, self.state.modulus, self.state.tenants = Phase.CREATED, modulus, tenants
        await self.session.log(Phase.CREATED, tables=len(TABLES), partitions=modulus + len(tenants))

    async def _check(self, more: list[str]) -> None:
        """Raise ObstacleError if anything prevents the step."""
        own = self.forward if self.state.phase is not Phase.SWITCHED else self.backward
        found = await obstacles(self.session.connection, OLDEST_SERVICE, own) + more
        if found:
            raise ObstacleError(found)

    async def sync(self) -> None:
        """Create the triggers, under a lock that excludes writes."""
        prepared = [statement for sync in self.forward for statement in functions(sync)]
        for sync in self.forward:
            prepared += [] if sync.key else unmatched_creation(sync)
        await self.session.run(prepared)
        statements = [statement for sync in self.forward for statement in trigger_creation(sync)]
        await self.session.run_locked(
            TABLES,
            WRITES,
            [*statements, phase_change(Phase.SYNCED)],
            Phase.SYNCED,
            triggers=sum(len(sync.triggers) for sync in self.forward),
        )
        self.state.phase = Phase.SYNCED

    async def copy(self, pace: Pace) -> None:
        """Copy all rows that are not copied yet."""
        copies: list[KeyedCopy | SnapshotCopy] = []
        for sync in self.forward:
            if sync.key:
                types = self.types[sync.definition.name]
                copies.append(KeyedCopy(self.session, sync, types, pace, self.progress))
            else:
                copies.append(SnapshotCopy(self.session, sync, pace, self.progress))
        analyses = [f"ANALYZE {qualified(sync.target)}" for sync in self.forward]
        if self.session.dry_run:
            self.session.sql += [s for copy in copies if isinstance(copy, KeyedCopy) for s in copy.statements(True)]
            self.session.sql += [*analyses, phase_change(Phase.COPIED)]
            return
        for copy in copies:
            name = copy.sync.definition.name
            if self.state.positions.get(name) != COPIED_ALL:
                await copy.run(self.state)
                await self.session.log(f"copied {name}", rows=self.state.copied.get(name, 0))
        for analysis in analyses:
            await self.session.connection.execute(analysis)
        await self.session.run([
            phase_change(Phase.COPIED)
            + ", copied_xact = CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
        ])  # fmt: skip
        self.state.phase = Phase.COPIED
        await self.session.log(Phase.COPIED, **{f"{name}_rows": rows for name, rows in self.state.copied.items()})

    @property
    def syncs(self) -> list[Sync]:
        """Return the triggers that write in the current phase."""
        return self.backward if self.state.phase is Phase.SWITCHED else self.forward

    async def verify(self) -> Verification:
        """Compare both copies and store the result. Before all rows are copied, they differ."""
        if self.state.phase not in (Phase.SYNCED, Phase.COPIED, Phase.SWITCHED):
            raise PhaseError("verify", self.state.phase, self.mode)
        if self.session.dry_run:
            self.session.sql += comparison_sql(self.syncs)
            return Verification(self.state.phase)
        result = await verify(self.session.connection, self.state.phase, self.syncs, self.progress)
        await self.session.log("verified" if result.is_ok else "verification failed", phase=self.state.phase,
                               triggers_off=len(result.triggers_off), tables=result.summary())  # fmt: skip
        report = json.dumps(result.summary()) if result.is_ok else None
        await fetch(self.session.connection, "put_verified", phase=self.state.phase, report=report)
        return result

    async def switch(self) -> None:
        """Let the service use the partitioned tables, and keep the plain ones in sync."""
        if self.state.phase is not Phase.COPIED:
            raise PhaseError("switch", self.state.phase, self.mode)
        if self.state.verified is None:
            raise LayoutError("the copies were not verified since the last step", "run `draftline partitions verify`")
        await self._check(await self._differences(COPY))
        if self.state.copied_xact is not None and not self.session.dry_run:
            await self.session.no_old_snapshots(self.state.copied_xact)
        await self._swap(self.forward, COPY, OLD, self.backward, Phase.SWITCHED)

    async def rollback(self) -> None:
        """Let the service use the plain tables again, with all that was written since, and keep the copies in sync."""
        if self.state.phase is not Phase.SWITCHED:
            raise PhaseError("rollback", self.state.phase, self.mode)
        await self._check(await self._differences(OLD))
        await self._swap(self.backward, OLD, COPY, self.forward, Phase.COPIED)

    async def _differences(self, other: str) -> list[str]:
        """Return how the copies differ in their definitions, and which triggers do not write to the other one."""
        connection = self.session.connection
        found = [text for each in self.definitions for text in await drift(connection, each, other)]
        return [
            *(f"{text}: make them the same, and run the command again" for text in found),
            *(
                f"trigger {name} is missing or does not fire always, so the other copy may lack writes: `draftline "
                f"partitions cleanup` drops that copy"
                for name in await triggers_off(connection, self.syncs)
            ),
        ]

    async def _swap(self, ending: list[Sync], comes: str, goes: str, beginning: list[Sync], phase: Phase) -> None:
        await self.session.run(statement for sync in beginning for statement in functions(sync))
        statements = [statement for sync in ending for statement in removal(sync)]
        for definition in self.definitions:
            statements += renames(definition, "", goes) + renames(definition, comes, "")
        statements += [statement for sync in beginning for statement in trigger_creation(sync)]
        event = "rolled back" if phase is Phase.COPIED else str(phase)
        await self.session.run_locked(TABLES, ALL, [*statements, phase_change(phase)], event)
        self.state.phase = phase

    async def cleanup(self) -> str:
        """Drop the copy that is not in use, and the triggers: after a switch the plain tables, otherwise the copies.

        Without a switchover, drop what an interrupted promotion left. Return what was done, as a sentence.
        """
        steps: dict[Phase, Callable[[], Awaitable[None]]] = {
            Phase.SWITCHED: self._drop_old,
            Phase.DROPPING_OLD: self._drop_old,
            Phase.CREATED: self._drop_copy,
            Phase.SYNCED: self._drop_copy,
            Phase.COPIED: self._drop_copy,
            Phase.DROPPING_COPY: self._drop_copy,
        }
        if self.state.phase not in steps:
            if not await drop_leftovers(self.session):
                raise PhaseError("cleanup", self.state.phase, self.mode)
            return "what the interrupted promotion left is dropped; the service uses the partitioned tables"
        await steps[self.state.phase]()
        if self.state.phase is Phase.DONE:
            return "the plain tables are dropped; the switchover is complete"
        return "the partitioned copies are dropped; the service uses the plain tables"

    async def _drop_old(self) -> None:
        if self.state.phase is Phase.SWITCHED:
            dropped = [statement for sync in self.backward for statement in removal(sync)]
            await self.session.run_locked(
                TABLES, WRITES, [*dropped, phase_change(Phase.DROPPING_OLD)], Phase.DROPPING_OLD
            )
        await self._drop(OLD, f"{phase_change(Phase.DONE)}, tenants = '{{}}', positions = '{{}}'", Phase.DONE)

    async def _drop_copy(self) -> None:
        if self.state.phase is not Phase.DROPPING_COPY:
            dropped = [statement for sync in self.forward for statement in removal(sync)]
            await self.session.run_locked(
                TABLES, WRITES, [*dropped, phase_change(Phase.DROPPING_COPY)], Phase.DROPPING_COPY
            )
        await self._drop(COPY, "DELETE FROM draftline.partition_switch", Phase.NONE)

    async def _drop(self, suffix: str, ending: str, phase: Phase) -> None:
        others = [definition.name + suffix for definition in self.definitions]
        spare = [unmatched(definition) for definition in self.definitions if not definition.key]
        statements = [
            f"DROP TABLE IF EXISTS {', '.join(map(qualified, [*others, *spare]))}",
            *(statement for sync in (*self.forward, *self.backward) for statement in function_removal(sync)),
            ending,
        ]
        await self.session.run_locked(
            others, ALL, statements, "the copies are dropped" if phase is Phase.NONE else phase
        )
        self.state.phase = phase
