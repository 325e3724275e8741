"""The tallies of statistics: built, folded, deleted, and compared with what they stand for.

Invariants:
- Every write appends to the tally of each statistic that it can see and that is BUILDING or READY (sql/write_tail.sql).
- A statistic is built in one statement, once no write is running that began before the statistic was stored. The
  statement replaces exactly the rows that its snapshot sees, so that writes need not stop.
- Building, folding and repairing lock the row of the statistic, so that only one of them replaces rows at a time.
- A fold that leaves no row stores which transactions may have appended others since: `folded_before`, `unfolded_xacts`.
  Reads leave out the rows of all other transactions by the index: they are deleted, though perhaps not vacuumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog

from ...domain.statistics import RANGES, KeyType
from ..database import Database
from ..runner import Runner, fetch, transact
from ..statements import load
from ..transaction import DedicatedConnection, Rows, Transaction
from .order_entries import OrderEntries

SQL = load("statistics")

MAX_GROUPS = 10_000  # of the baseline, when a statistic is built
FOLD_ROWS = 2_000  # a tally is folded when writes have appended more rows
ROOT_NODE = "a"  # of a range, see draftline.group_nodes
MAX_FOLDED = 20_000  # rows in one transaction
MAX_COUNTED = 100_000  # appended rows of a statistic, for the metrics
MAX_DELETED = 5_000  # rows in one transaction
MAX_DIFFERENCES = 100


@dataclass(frozen=True, slots=True)
class Unfolded:
    """Rows that writes have appended, the longest time since the last fold of a tally that is to be folded, and the
    number of statistics that are INVALID."""

    rows: int = 0
    age_s: float = 0.0
    invalid: int = 0


@dataclass(frozen=True, slots=True)
class TallyDifference:
    """A group of a statistic whose tally differs from what records and drafts contribute."""

    tenant_id: str
    collection: str
    statistic_id: int
    user_id: str  # empty: the baseline
    keys: tuple[str | None, ...]


class Tallies:
    """Builds, folds, deletes and checks the tallies of statistics."""

    def __init__(self, database: Database, entries: OrderEntries, *, max_groups: int = MAX_GROUPS) -> None:
        self._database = database
        self._entries = entries
        self._max_groups = max_groups
        self.built = 0

    async def work_off(self, connection: DedicatedConnection) -> None:
        """Build and delete whatever is left to build and delete, and fold what has many rows, of all tenants."""
        rows = await self._fetch(connection, "unready_statistics", {})
        for tenant_id, collection in dict.fromkeys((row["tenant_id"], row["collection"]) for row in rows):
            await self._build_all(connection, tenant_id, collection)
            await self.delete_dropped(tenant_id, collection, connection)
        await self.fold_all(connection)

    async def build(self, tenant_id: str, collection: str) -> None:
        """Build the new statistics of a collection, and return once they are built."""
        if await self._of_state(self._database, tenant_id, collection, "BUILDING"):
            # A build may take longer than the pool allows a statement.
            async with self._database.dedicated_connection() as connection:
                await self._build_all(connection, tenant_id, collection)

    async def _build_all(self, connection: DedicatedConnection, tenant_id: str, collection: str) -> None:
        if not await self._of_state(connection, tenant_id, collection, "BUILDING"):
            return
        await self._entries.wait_for_inflight_writes(with_imports=True, runner=connection)
        for key in await self._of_state(connection, tenant_id, collection, "BUILDING"):
            async with connection.transaction() as transaction:
                await self._build(transaction, key)

    async def _build(self, transaction: Transaction, key: dict[str, object]) -> None:
        locked = await transaction.fetch(SQL["lock_statistic"], key)
        if not locked or locked[0]["state"] != "BUILDING":
            return
        await transaction.fetch(SQL["use_more_memory"], {})
        await transaction.fetch(SQL["show_build"], key)
        groups = (await transaction.fetch(SQL["build_statistic"], key))[0]["groups"]
        state = "READY" if groups <= self._max_groups else "INVALID"
        if state == "INVALID":
            await transaction.fetch(SQL["delete_tally"], {**key, "limit": None})
        values = {**key, "groups": groups, "state": state, "now": await transaction.now()}
        await transaction.fetch(SQL["finish_statistic"], values)
        self.built += 1
        structlog.get_logger().info("statistic_built", **key, groups=groups, state=state)

    async def repair(self, tenant_id: str, collection: str, statistic_id: int) -> None:
        """Replace the tally of a statistic by what records and drafts contribute. Drafts are to be repaired first."""
        key: dict[str, object] = {"tenant_id": tenant_id, "collection": collection, "statistic_id": statistic_id}
        async with self._database.dedicated_connection() as connection, connection.transaction() as transaction:
            locked = await transaction.fetch(SQL["lock_statistic"], key)
            if locked and locked[0]["state"] == "READY":
                await transaction.fetch(SQL["use_more_memory"], {})
                await transaction.fetch(SQL["build_statistic"], key)
                await transaction.fetch(SQL["read_all_appended"], key)

    async def delete_dropped(self, tenant_id: str, collection: str, runner: Runner | None = None) -> None:
        """Delete the tallies of statistics that are no longer declared, and the statistics."""
        runner = runner or self._database
        dropped = await self._of_state(runner, tenant_id, collection, "DROPPING")
        if not dropped:
            return
        await self._entries.wait_for_inflight_writes(with_imports=True, runner=runner)
        for key in dropped:
            while (await self._fetch(runner, "delete_tally", {**key, "limit": MAX_DELETED}))[0]["count"]:
                pass
            await self._fetch(runner, "delete_statistic", key)
            structlog.get_logger().info("statistic_deleted", **key)

    async def _of_state(self, runner: Runner, tenant_id: str, collection: str, state: str) -> list[dict[str, object]]:
        key: dict[str, object] = {"tenant_id": tenant_id, "collection": collection}
        rows = await self._fetch(runner, "statistics_in_state", {**key, "state": state})
        return [{**key, "statistic_id": row["statistic_id"]} for row in rows]

    async def _fetch(self, runner: Runner, name: str, values: dict[str, object]) -> Rows:
        return await fetch(self._database, runner, SQL[name], values)

    async def unfolded(self, runner: Runner | None = None) -> Unfolded:
        """Return how many rows are to be folded, and how many statistics are INVALID, of all tenants."""
        rows = await self._fetch(runner or self._database, "unfolded_statistics", {"limit": MAX_COUNTED})
        ages = [row["age_s"] for row in rows if row["rows"] > FOLD_ROWS]
        invalid = sum(row["state"] == "INVALID" for row in rows)
        return Unfolded(sum(row["rows"] for row in rows), max(ages, default=0.0), invalid)

    async def fold_all(self, runner: Runner | None = None, limit: int = FOLD_ROWS) -> None:
        """Fold the tallies to which writes have appended more rows than `limit`, of all tenants."""
        runner = runner or self._database
        for row in await self._fetch(runner, "unfolded_statistics", {"limit": limit + 1}):
            if row["rows"] > limit:
                await self.fold(row["tenant_id"], row["collection"], row["statistic_id"], runner)

    async def fold(self, tenant_id: str, collection: str, statistic_id: int, runner: Runner | None = None) -> int:
        """Add the rows that writes have appended to the sums of their groups. Return how many rows that were."""
        key: dict[str, object] = {"tenant_id": tenant_id, "collection": collection, "statistic_id": statistic_id}

        async def work(transaction: Transaction) -> int:
            await transaction.fetch(SQL["use_indexes"], {})
            locked = await transaction.fetch(SQL["lock_statistic"], key)
            if not locked or locked[0]["state"] != "READY":
                return 0
            k1_type = KeyType(locked[0]["k1_type"])
            values = {**key, "k1_type": k1_type, "limit": MAX_FOLDED}
            row = (await transaction.fetch(SQL["fold_tally"], values))[0]
            is_all = row["folded"] < MAX_FOLDED
            await transaction.fetch(
                SQL["finish_fold"],
                {
                    **key,
                    "node": ROOT_NODE if k1_type in RANGES else None,
                    "now": await transaction.now(),
                    "pending_from": row["pending_from"] if is_all else None,
                    "pending": row["pending"] if is_all else None,
                },
            )
            return int(row["folded"])

        total = 0
        while folded := await transact(self._database, runner or self._database, work):
            total += folded
            if folded < MAX_FOLDED:
                break
        return total

    async def differences(self) -> list[TallyDifference]:
        """Return groups of all tenants whose tallies are wrong, at most MAX_DIFFERENCES of each statistic."""
        found: list[TallyDifference] = []
        async with self._database.dedicated_connection() as connection:
            for row in await connection.fetch(SQL["ready_statistics"], {}):
                key: dict[str, Any] = {name: row[name] for name in ("tenant_id", "collection", "statistic_id")}
                found += [
                    TallyDifference(**key, user_id=each["user_id"], keys=(each["k1"], each["k2"], each["k3"]))
                    for each in await connection.fetch(SQL["check_statistic"], {**key, "limit": MAX_DIFFERENCES})
                ]
        return found
