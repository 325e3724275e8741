"""Reports of a switchover: what a start would do, and how far it is. They change nothing."""

from __future__ import annotations

from typing import Any

from .definitions import fetch as fetch_layout
from .layout import MODULUS, TABLES, tenant_partition
from .mode import Mode
from .obstacles import names_in_use, obstacles
from .promotion_plan import constraint_removal
from .session import Session
from .switch_state import COPIED_ALL, SQL, UNDER_WAY, Phase, fetch, promotion_copies
from .switchover import OLDEST_SERVICE, Switchover, next_step
from .sync_triggers import COPY, OLD
from .verification import triggers_off


async def plan(switchover: Switchover) -> dict[str, Any]:
    """Return what a start would do, and what prevents it."""
    connection, state = switchover.session.connection, switchover.state
    if switchover.session.dry_run:
        names = ("table_sizes", "biggest_tenants", "obstacles", "not_owned", "old_services", "existing")
        return _shown(switchover.session, *names)
    found = await obstacles(connection, OLDEST_SERVICE, [*switchover.forward, *switchover.backward])
    if switchover.mode is Mode.PLAIN and state.phase is Phase.NONE:
        found += await names_in_use(connection, [], MODULUS)
    parts = {row["name"] for row in await fetch_layout(connection, "partitions", name="record")}
    biggest = await fetch(connection, "biggest_tenants", limit=10)
    tenants = [
        {"tenant_id": row["tenant_id"], "records": row["records"], "bytes": row["bytes"],
         "has_own_partitions": tenant_partition("record", row["tenant_id"]) in parts}
        for row in biggest
    ]  # fmt: skip
    return {
        "mode": str(switchover.mode), "phase": str(state.phase), "next": next_step(state.phase, switchover.mode),
        "tables": await sizes(connection), "tenants": tenants,
        "records": biggest[0]["total"] if biggest else 0, "obstacles": found,
    }  # fmt: skip


async def status(switchover: Switchover) -> dict[str, Any]:
    """Return the phase, how far the copy is, the triggers, and the last steps."""
    connection, state = switchover.session.connection, switchover.state
    if switchover.session.dry_run:
        return _shown(switchover.session, "state", "table_sizes", "trigger_states", "read_log")
    under_way = state.phase in UNDER_WAY
    has_triggers = state.phase in (Phase.SYNCED, Phase.COPIED, Phase.SWITCHED)
    log = await fetch(connection, "read_log", limit=10)
    other = OLD if state.phase in (Phase.SWITCHED, Phase.DROPPING_OLD) else COPY
    left = await constraint_removal(connection)
    return {
        "mode": str(switchover.mode), "phase": str(state.phase), "next": next_step(state.phase, switchover.mode),
        "tenants": state.tenants, "modulus": state.modulus, "tables": await sizes(connection),
        "other_tables": await sizes(connection, other) if under_way else [],
        "copied": state.copied, "is_copied": {
            table: state.positions.get(table) == COPIED_ALL for table in TABLES if under_way},
        "triggers_off": await triggers_off(connection, switchover.syncs) if has_triggers else [],
        "verified_at": state.verified_at, "promotion_copies": await promotion_copies(connection),
        "promotion_constraints": sum(map(len, left.values())),
        "log": [{"at": row["logged_at"], "event": row["event"], "detail": row["detail"]} for row in log],
    }  # fmt: skip


async def sizes(connection: Any, suffix: str = "") -> list[dict[str, Any]]:
    """Return the estimated rows and the bytes of each table, or of its other copy."""
    names = [table + suffix for table in TABLES]
    return [dict(row) for row in await fetch(connection, "table_sizes", names=names)]


def _shown(session: Session, *queries: str) -> dict[str, Any]:
    session.sql += [SQL[query].sql for query in queries]
    return {}
