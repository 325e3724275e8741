"""The count of what tenants use, in parts, agrees with a count of the whole tables."""

from __future__ import annotations

import uuid

import asyncpg
import pytest
from draftline_server.domain.quotas import QuotaOptions
from draftline_server.store import tenants
from draftline_server.store.advisory_locks import AdvisoryLock
from draftline_server.store.database import Database
from draftline_server.store.leases import Leases
from draftline_server.store.quotas import Quotas
from support.tenant_stores import connected

WHOLE = """SELECT t.tenant_id, count(DISTINCT r.collection) AS collections, count(r.record_id) AS records,
        coalesce(sum(pg_column_size(r.content)), 0) AS bytes,
        (SELECT count(*) FROM draftline.draft AS d WHERE d.tenant_id = t.tenant_id) AS drafts
    FROM (SELECT tenant_id FROM draftline.record UNION SELECT tenant_id FROM draftline.draft) AS t
    LEFT JOIN draftline.record AS r ON r.tenant_id = t.tenant_id
    GROUP BY t.tenant_id"""
COUNTED = "SELECT tenant_id, collections, records, bytes, drafts FROM draftline.tenant_usage"


async def fill(connection: asyncpg.Connection, tenant_id: str, records: int, drafts: int) -> None:
    await connection.execute(
        """INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by,
            updated_at, updated_by)
        SELECT $1, 'c-' || g % 3, 'r-' || g, jsonb_build_object('n', repeat('x', g)), 1, now(), 'a', now(), 'a'
        FROM generate_series(1, $2::int) AS g""",
        tenant_id, records,
    )  # fmt: skip
    await connection.execute(
        """INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version,
            merged, version, session_id, change_reason, created_at, updated_at)
        SELECT $1, 'u-' || g % 2, 'c-' || g % 3, 'd-' || g, 'CREATE', '{}', '{}', 0, '{}', 1, '', '', now(), now()
        FROM generate_series(1, $2::int) AS g""",
        tenant_id, drafts,
    )  # fmt: skip


@pytest.mark.parametrize("part", [1, 3, 1_000])
async def test_count_in_parts_agrees_with_the_whole(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(tenants, "PART", part)
    monkeypatch.setattr(tenants, "PAGE", 2)
    prefix = uuid.uuid4().hex
    for number, (records, drafts) in enumerate(((7, 3), (0, 2), (6, 0), (1, 1))):
        await fill(connection, f"{prefix}-{number}", records, drafts)

    async with connected(database_url) as database:
        await check(database, connection, prefix)


async def check(database: Database, connection: asyncpg.Connection, prefix: str) -> None:
    async def count() -> dict[str, tuple[int, ...]]:
        async def work(leased: tenants.DedicatedConnection) -> None:
            await tenants.count_tenants(leased)

        assert await Leases(database).run(AdvisoryLock.TENANT_USAGE, work, waits=True)
        return {row[0]: tuple(row)[1:] for row in await connection.fetch(COUNTED)}

    whole = {row[0]: tuple(row)[1:] for row in await connection.fetch(WHOLE)}
    assert {each: counted for each, counted in (await count()).items() if each.startswith(prefix)} == {
        each: figures for each, figures in whole.items() if each.startswith(prefix)
    }
    gone = f"{prefix}-1"
    await connection.execute("DELETE FROM draftline.draft WHERE tenant_id = $1", gone)
    assert gone not in await count()

    quotas = Quotas(database, QuotaOptions(records=8, bytes=10_000_000))
    await quotas.refresh()
    near = {each.tenant_id: each.quota for each in quotas.near() if each.tenant_id.startswith(prefix)}
    assert near == {}
    tight = Quotas(database, QuotaOptions(records=7))
    await tight.refresh()
    near = {each.tenant_id: each.quota for each in tight.near() if each.tenant_id.startswith(prefix)}
    assert near == {f"{prefix}-0": "records"}
