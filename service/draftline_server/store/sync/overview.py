"""The syncs of all tenants and their backlogs, for metrics and for the doctor."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.values import value_class
from ..database import Database
from ..statements import load

SQL = load("sync_config")


@value_class
class SyncCondition:
    """The state of one sync, and the number of its records by state.

    `lag_s`: the age of the oldest commit that is not acknowledged, and neither refused nor in conflict. `overdue_s`:
    the time since the upstream should have been read, negative if it need not be yet.
    """

    tenant_id: str
    upstream: str
    endpoint: str
    push_paused: bool
    pull_paused: bool
    suspended_reason: str
    suspended_message: str
    is_owned: bool
    due: int
    sending: int
    in_doubt: int
    held: int
    failed: int
    lag_s: float
    overdue_s: float

    @property
    def needs_worker(self) -> bool:
        """Return whether a worker should have it, but none has."""
        return not self.is_owned and not self.suspended_reason and not (self.push_paused and self.pull_paused)


async def sync_conditions(database: Database) -> Sequence[SyncCondition]:
    """Return the conditions of all syncs of all tenants."""
    rows = await database.fetch(SQL["sync_overview"], {"now": await database.now()}, idempotent=True)
    return [
        SyncCondition(
            row["tenant_id"], row["upstream"], row["endpoint"], row["push_paused"], row["pull_paused"],
            row["suspended_reason"] or "", row["suspended_message"] or "", row["is_owned"], row["due"], row["sending"],
            row["in_doubt"], row["held"], row["failed"], max(0.0, row["lag_s"] or 0.0), row["overdue_s"] or 0.0,
        )
        for row in rows
    ]  # fmt: skip
