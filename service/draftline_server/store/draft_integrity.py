"""Check the invariant that every draft's merge is its edit applied to its record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from .database import Database
from .statements import Statement, load
from .transaction import DedicatedConnection, Rows

SQL = load("drafts")
PAGE = 1_000  # drafts in one statement


@dataclass(frozen=True, slots=True)
class DraftDifference:
    """A draft whose merge differs, or an orphan: a draft that changes a record which does not exist."""

    tenant_id: str
    user_id: str
    collection: str
    record_id: str
    is_orphan: bool


class DraftChecker:
    """Compares the drafts of all tenants with their records."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.checked = 0  # drafts checked so far

    async def total(self) -> int:
        """Return the number of drafts of all tenants."""
        return int((await self._database.fetch(SQL["count_drafts"], {}, idempotent=True))[0]["count"])

    def differences(self) -> AsyncIterator[DraftDifference]:
        """Iterate over every inconsistent draft, in primary-key order and in bounded memory."""
        return self._differences(partial(self._database.fetch, idempotent=True))

    async def _differences(
        self, fetch: Callable[[Statement, dict[str, object]], Awaitable[Rows]]
    ) -> AsyncIterator[DraftDifference]:
        cursor = {"tenant_id": "", "user_id": "", "collection": "", "record_id": ""}
        while True:
            rows = await fetch(SQL["check_drafts"], {**cursor, "limit": PAGE})
            self.checked += len(rows)
            for row in rows:
                if row["differs"] or row["is_orphan"]:
                    yield DraftDifference(
                        row["tenant_id"], row["user_id"], row["collection"], row["record_id"], row["is_orphan"]
                    )
            if len(rows) < PAGE:
                return
            cursor = {name: rows[-1][name] for name in cursor}

    async def count(self, connection: DedicatedConnection) -> int:
        """Return the number of inconsistent drafts, read over `connection`."""
        return sum([1 async for _ in self._differences(connection.fetch)])

    async def repair(self, difference: DraftDifference) -> bool:
        """Apply the draft's edit to its record again. Return False for an orphan, which only its user can resolve."""
        if difference.is_orphan:
            return False
        values: dict[str, object] = {
            "tenant_id": difference.tenant_id,
            "user_id": difference.user_id,
            "collection": difference.collection,
            "record_id": difference.record_id,
        }
        return bool(await self._database.fetch(SQL["repair_draft"], values))
