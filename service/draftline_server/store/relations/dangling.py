"""References of checked relations without a live record: what was stored before the check, or by a sync."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from ...domain.relations import MAX_NAMED
from ...domain.values import value_class
from ..database import Database
from .references import SQL

PAGE = 1_000  # references in one statement


@value_class
class Dangling:
    """The references of one relation without a live record."""

    count: int
    record_ids: Sequence[str]  # the first records that have some


@value_class
class DanglingReference:
    """A record that names a missing one."""

    tenant_id: str
    collection: str
    record_id: str
    relation: str
    related_collection: str
    related_id: str
    is_synced: bool  # a sync writes the collection, and its pulls are not checked


async def count_dangling(database: Database, tenant_id: str, collection: str) -> Mapping[str, Dangling]:
    """Return the dangling references of a collection's checked relations whose index is ready, by relation."""
    values: dict[str, object] = {"tenant_id": tenant_id, "collection": collection, "limit": MAX_NAMED}
    rows = await database.fetch(SQL["count_dangling"], values, idempotent=True)
    return {row["name"]: Dangling(int(row["count"]), row["record_ids"]) for row in rows}


class ReferenceChecker:
    """Finds the dangling references of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def differences(self) -> AsyncIterator[DanglingReference]:
        """Iterate over the dangling references, in bounded memory."""
        for relation in await self._database.fetch(SQL["checking_collections"], {}, idempotent=True):
            cursor: dict[str, object] = {"key": b"", "record_id": ""}
            while True:
                values = {**dict(relation), **cursor, "limit": PAGE}
                rows = await self._database.fetch(SQL["check_references"], values, idempotent=True)
                for row in rows:
                    if row["is_dangling"]:
                        yield DanglingReference(
                            relation["tenant_id"], relation["collection"], row["record_id"], relation["name"],
                            relation["target"], row["id"], relation["is_synced"],
                        )  # fmt: skip
                if len(rows) < PAGE:
                    break
                cursor = {"key": rows[-1]["key"], "record_id": rows[-1]["record_id"]}
