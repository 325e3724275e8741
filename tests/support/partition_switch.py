"""A filled database for tests of the switchover, and its commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from draftline_server.partitions.pace import Pace
from draftline_server.partitions.session import open_session
from draftline_server.partitions.switch_state import Phase
from draftline_server.partitions.switchover import Switchover
from draftline_server.partitions.verification import Verification

FILL = """
INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by, updated_at,
    updated_by)
SELECT 't' || n % 7, 'films', 'r' || n, jsonb_build_object('n', n), 1, now(), 'u', now(), 'u'
FROM generate_series(1, {rows}) AS n;
INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged, version,
    session_id, change_reason, created_at, updated_at)
SELECT r.tenant_id, 'u', r.collection, r.record_id, 'CHANGE', '{{}}', '{{}}', 1, r.content, 1, '', '', now(), now()
FROM draftline.record AS r WHERE (r.content ->> 'n')::int % 5 = 0;
INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
SELECT r.tenant_id, r.collection, 1, convert_to(r.record_id, 'UTF8'), r.record_id FROM draftline.record AS r;
INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
SELECT d.tenant_id, d.user_id, d.collection, 1, convert_to(d.record_id, 'UTF8'), d.record_id FROM draftline.draft AS d;
INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records, c1, s1, is_folded)
SELECT 't' || n % 7, 1, '', CASE WHEN n % 3 > 0 THEN 'k' || n % 3 END, 1, 1, n % 4, n % 2 = 0
FROM generate_series(1, {rows}) AS n;
INSERT INTO draftline.sync_record (tenant_id, collection, record_id, remote_id)
SELECT r.tenant_id, r.collection, r.record_id, 'remote-' || r.record_id FROM draftline.record AS r;
"""


async def fill(connection: Any, rows: int = 300) -> None:
    """Store records of seven tenants, with drafts, entries, a tally with equal rows, and sync rows."""
    await connection.execute(FILL.format(rows=rows))


@asynccontextmanager
async def switchover(url: str, *, dry_run: bool = False, attempts: int = 200) -> AsyncIterator[Switchover]:
    async with open_session(url, dry_run=dry_run, attempts=attempts) as session:
        commands = Switchover(session)
        await commands.load()
        yield commands


async def run(url: str, command: Callable[[Switchover], Awaitable[Any]], **options: Any) -> Any:
    async with switchover(url, **options) as commands:
        return await command(commands)


async def start(url: str, *, tenants: tuple[str, ...] = (), modulus: int = 2) -> Phase:
    async with switchover(url) as commands:
        await commands.start(tenants, modulus, Pace(rest=0.0))
        return commands.state.phase


async def verified(url: str) -> Verification:
    result: Verification = await run(url, Switchover.verify)
    return result
