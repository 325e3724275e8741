"""The state of a switchover: its phase, how far rows are copied, and the log of its steps.

The state is stored in the transaction that does a step, so that the same command resumes after an interruption.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..store.statements import load
from .definitions import LayoutError

SQL = load("partition_switch")


class Phase(StrEnum):
    """The phases of a switchover, in their order.

    NONE: not begun. CREATED: the partitioned copies exist, empty. SYNCED: triggers keep the copies in sync. COPIED: all
    rows are in the copies. SWITCHED: the service uses the partitioned tables, and triggers keep the plain ones in sync.
    DONE: the plain tables are dropped. In DROPPING_COPY and DROPPING_OLD `cleanup` was interrupted; it completes them.
    """

    NONE = "NONE"
    CREATED = "CREATED"
    SYNCED = "SYNCED"
    COPIED = "COPIED"
    SWITCHED = "SWITCHED"
    DROPPING_COPY = "DROPPING_COPY"
    DROPPING_OLD = "DROPPING_OLD"
    DONE = "DONE"


UNDER_WAY = tuple(phase for phase in Phase if phase not in (Phase.NONE, Phase.DONE))
"""Phases in which a second copy of the tables exists, so that the schema must not change otherwise."""

COPIED_ALL = "done"
PROMOTION_COPY = "copy of shared partitions, made by draftline partitions promote"  # comment of such tables


@dataclass(slots=True)
class State:
    """The stored state. `positions`: the key of the last copied row of each table, or COPIED_ALL."""

    phase: Phase = Phase.NONE
    modulus: int = 0
    tenants: list[str] = field(default_factory=list)
    positions: dict[str, Any] = field(default_factory=dict)
    copied: dict[str, int] = field(default_factory=dict)
    copied_xact: int | None = None
    verified: dict[str, Any] | None = None
    verified_at: Any = None
    started_at: Any = None
    changed_at: Any = None


async def fetch(connection: Any, query: str, **values: object) -> list[Any]:
    """Return the rows of a statement of partition_switch.sql on a connection of asyncpg."""
    statement = SQL[query]
    rows: list[Any] = await connection.fetch(statement.sql, *statement.arguments(values))
    return rows


async def read_state(connection: Any) -> State:
    """Return the stored state; Phase.NONE if there is none, also in a database of an older schema."""
    if not (await fetch(connection, "has_state"))[0]["has_state"]:
        return State()
    found = await fetch(connection, "state")
    if not found:
        return State()
    row = found[0]
    return State(
        phase=Phase(row["phase"]),
        modulus=row["modulus"],
        tenants=list(row["tenants"]),
        positions=json.loads(row["positions"]),
        copied=json.loads(row["copied"]),
        copied_xact=row["copied_xact"],
        verified=json.loads(row["verified"]) if row["verified"] else None,
        verified_at=row["verified_at"],
        started_at=row["started_at"],
        changed_at=row["changed_at"],
    )


async def promotion_copies(connection: Any) -> list[str]:
    """Return the copies that exist while a tenant is promoted, and that stay if the command is interrupted."""
    return [row["name"] for row in await fetch(connection, "with_comment", comment=PROMOTION_COPY)]


async def check_no_switchover(connection: Any) -> None:
    """Raise LayoutError while a second copy of the tables exists, which other changes of partitions would not reach."""
    phase = (await read_state(connection)).phase
    if phase in UNDER_WAY:
        raise LayoutError(
            f"a switchover to partitioned tables is under way (phase {phase})",
            "complete it or end it by `draftline partitions cleanup`, and run the command again",
        )
    if await promotion_copies(connection):
        raise LayoutError(
            "the promotion of a tenant was interrupted", "run it again, or end it by `draftline partitions cleanup`"
        )


def phase_change(phase: Phase) -> str:
    """Return the statement that stores another phase, in which nothing is verified yet."""
    return (
        f"UPDATE draftline.partition_switch SET phase = '{phase}', verified = NULL, verified_at = NULL, "
        "changed_at = clock_timestamp()"
    )
