"""Every kind of write leaves the tallies of statistics exact on partitioned tables."""

from __future__ import annotations

from draftline_server.store.database import Database

from ..store import test_statistics_writes as plain


async def test_tallies_are_exact_after_every_kind_of_write(database: Database, tenant_id: str) -> None:
    await plain.test_tallies_are_exact_after_every_kind_of_write(database, tenant_id, partial_updates=True)
