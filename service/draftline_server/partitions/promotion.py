"""Give a tenant its own partitions while the service goes on.

Nothing is stored about the progress. A command that was interrupted leaves copies, which the next one drops, or tables
of which the tenant has its own partition already, which it leaves as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncpg

from .copying import KeyedCopy, Progress, no_progress
from .definitions import LayoutError, read_definition
from .layout import TABLES, qualified, tenant_partition
from .obstacles import ObstacleError, part_obstacles
from .pace import Pace
from .promotion_plan import Promotion, constraint_removal, promotion
from .session import NOTHING, LockError, Session
from .switch_state import Phase, State, check_no_switchover, promotion_copies
from .switch_state import fetch as fetch_state
from .sync_triggers import COPY, Sync, function_removal, removal, unmatched
from .verification import verify

WRITES, ALL = "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"
LAST_ATTEMPTS = 10  # to drop the copies after an error


async def promote(
    session: Session, tenant_id: str, max_lock_s: float, pace: Pace, progress: Progress
) -> tuple[dict[str, int], float]:
    """Move a tenant into its own partitions. Return its rows by table, and for how many ms a table was locked at most.

    The tables follow one another, so that each is locked briefly.
    """
    connection = session.connection
    if not await drop_copies(session):
        await check_no_switchover(connection)
    plan = await promotion(connection, tenant_id)
    await _check(connection, plan)
    if session.dry_run:
        _collect(session, plan, pace, progress)
        return {}, 0.0
    await pace.begin(session.report)
    try:
        await _prepare(session, plan, max_lock_s)
        await _copy(session, plan, pace, progress)
        await _exchange(session, plan, max_lock_s)
    except (LayoutError, asyncpg.PostgresError):
        session.attempts = min(session.attempts, LAST_ATTEMPTS)
        with suppress(LockError):  # then the next command drops them
            await drop_leftovers(session)
        raise
    for table, statements in plan.ends.items():
        await session.run_locked(
            [table], ALL, statements, f"complete promote: {table}", max_lock_s, unchanged=_so_far(TABLES)
        )
    rows = {
        table: await connection.fetchval(f"SELECT count(*) FROM {qualified(tenant_partition(table, tenant_id))}")
        for table in TABLES
    }
    if plan.ends:
        await session.log("promoted", locked_ms=round(session.longest_lock_ms, 1), rows=rows)
    return rows, session.longest_lock_ms


async def _prepare(session: Session, plan: Promotion, max_lock_s: float) -> None:
    """Declare and check that the other shared partitions have no row of the tenant."""
    for table, statements in plan.exclusions.items():
        await session.run_locked([table], ALL, statements, f"prepare promote: {table}", max_lock_s)
    for statement in plan.validations:
        await session.connection.execute(statement)


async def _exchange(session: Session, plan: Promotion, max_lock_s: float) -> None:
    """Put the copies in the place of the shared partitions."""
    done: list[str] = []
    for split in plan.splits:
        table = split.definition.name
        await session.run_locked(
            [table], ALL, split.exchange(), f"promote: {table}", max_lock_s, unchanged=_so_far(done)
        )
        done.append(table)
        await session.run(split.removal())


def _so_far(tables: Sequence[str]) -> str:
    """Return what an error leaves behind, when the tenant has its own partitions of these tables."""
    return f"the tenant has its own partitions of {', '.join(tables)}" if tables else NOTHING


def _collect(session: Session, plan: Promotion, pace: Pace, progress: Progress) -> None:
    """Add the statements of a promotion to those of a dry run."""
    prepared = [statement for statements in plan.exclusions.values() for statement in statements]
    session.sql += [*prepared, *plan.validations, *plan.creation]
    session.sql += [statement for split in plan.splits for statement in split.triggers]
    for copy in plan.copies(session, pace, progress):
        session.sql += copy.statements(True) if isinstance(copy, KeyedCopy) else []
    session.sql += plan.analyses
    session.sql += [statement for split in plan.splits for statement in (*split.exchange(), *split.removal())]
    session.sql += [statement for statements in plan.ends.values() for statement in statements]


async def _check(connection: Any, plan: Promotion) -> None:
    """Raise ObstacleError if something refers to a partition that is dropped, or writes without triggers."""
    found = await part_obstacles(connection, [split.leaf for split in plan.splits])
    if found:
        raise ObstacleError(found)


async def _copy(session: Session, plan: Promotion, pace: Pace, progress: Progress) -> None:
    """Create the copies, fill them, and compare them with the shared partitions."""
    connection = session.connection
    if not plan.splits:
        return
    await session.run(plan.creation)
    for split in plan.splits:
        table = split.definition.name
        await session.run_locked([table], WRITES, split.triggers, f"promote: {table} and its copy are in sync")
    state = State()
    for split in plan.splits:
        progress(split.definition.name, 0, split.rows)
    for copy in plan.copies(session, pace, progress):
        await copy.run(state)
        name = copy.sync.definition.name
        await session.log(f"promote: copied {copy.sync.copied}", rows=state.copied.get(name, 0))
    for statement in plan.analyses:
        await connection.execute(statement)
    xact = (await fetch_state(connection, "current_xact"))[0]["xact"]
    result = await verify(connection, Phase.DONE, [split.sync for split in plan.splits], no_progress)
    await session.log("promote: verified" if result.is_ok else "promote: verification failed", tables=result.summary())
    if not result.is_ok:
        raise LayoutError("the copies differ from the shared partitions", "nothing was changed; run the command again")
    await session.no_old_snapshots(xact)


async def drop_leftovers(session: Session) -> bool:
    """Drop all that an interrupted promotion left. Return whether there was anything."""
    found = await drop_copies(session)
    return await drop_constraints(session) or found


async def drop_copies(session: Session) -> bool:
    """Drop the copies that an interrupted promotion left. Return whether there were any."""
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


async def drop_constraints(session: Session, tenant_id: str | None = None) -> bool:
    """Drop the constraints that interrupted promotions left: of one tenant or of all. Return whether there were any."""
    found = await constraint_removal(session.connection, tenant_id)
    for table, statements in found.items():
        await session.run_locked([table], ALL, statements, f"promote: dropped the constraints on {table}")
    return bool(found)
