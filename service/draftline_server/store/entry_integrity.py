"""Check the invariant that each live record, and each draft, has exactly its entry in every ready order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg

from .database import Database
from .statements import load
from .transaction import Transaction

SQL = load("entry_integrity")
PAGE = 1_000  # rows in one statement


@dataclass(frozen=True, slots=True)
class EntryDifference:
    """An entry that is missing, or one that is unexpected; of a record if `user_id` is empty, else of a draft."""

    tenant_id: str
    user_id: str
    collection: str
    record_id: str
    order_id: int
    is_missing: bool
    key: bytes = field(default=b"", repr=False)  # of an unexpected entry


class EntryChecker:
    """Compares the entries of all tenants with their records and drafts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def differences(self) -> AsyncIterator[EntryDifference]:
        """Iterate over every wrong entry, in bounded memory."""
        for name in ("check_record_entries", "check_draft_entries"):
            async for row in self._rows(name, ("tenant_id", "user_id", "collection", "record_id")):
                for order_id in row["wrong"]:
                    yield EntryDifference(
                        row["tenant_id"], row["user_id"], row["collection"], row["record_id"], order_id, is_missing=True
                    )
        for name in ("check_stored_entries", "check_stored_draft_entries"):
            cursor = ("tenant_id", "user_id", "collection", "order_id", "key", "record_id")
            async for row in self._rows(name, cursor):
                if row["is_unexpected"]:
                    yield EntryDifference(
                        row["tenant_id"], row["user_id"], row["collection"], row["record_id"], row["order_id"],
                        is_missing=False, key=row["key"],
                    )  # fmt: skip

    async def _rows(self, name: str, columns: tuple[str, ...]) -> AsyncIterator[asyncpg.Record]:
        starts: dict[str, object] = {"order_id": 0, "key": b""}
        cursor = {column: starts.get(column, "") for column in columns}
        while True:
            rows = await self._database.fetch(SQL[name], {**cursor, "limit": PAGE}, idempotent=True)
            for row in rows:
                yield row
            if len(rows) < PAGE:
                return
            cursor = {column: rows[-1][column] for column in columns}

    async def repair(self, difference: EntryDifference) -> bool:
        """Add or delete the entry. Return False if a write has done so meanwhile."""
        kind = "draft_entry" if difference.user_id else "entry"
        values: dict[str, object] = {
            "tenant_id": difference.tenant_id,
            "user_id": difference.user_id,
            "collection": difference.collection,
            "record_id": difference.record_id,
            "order_id": difference.order_id,
            "key": difference.key,
        }

        async def work(transaction: Transaction) -> bool:
            await transaction.fetch(SQL[f"lock_{kind}"], values)
            action = "add" if difference.is_missing else "remove"
            return bool(await transaction.fetch(SQL[f"{action}_{kind}"], values))

        return await self._database.transact(work)
