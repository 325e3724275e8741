"""The leases of syncs, of all tenants, for the processes that run workers."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.values import value_class
from ..database import Database
from ..statements import load

SQL = load("sync_config")


@value_class
class SyncLease:
    tenant_id: str
    upstream: str
    owner: str
    is_owned: bool


class SyncLeases:
    """Lists the syncs that need a worker."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[SyncLease]:
        """Return the syncs of all tenants that are not stopped."""
        rows = await self._database.fetch(SQL["all_syncs"], {"now": await self._database.now()}, idempotent=True)
        return [SyncLease(row["tenant_id"], row["upstream"], row["owner"] or "", bool(row["is_owned"])) for row in rows]
