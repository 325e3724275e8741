"""Nothing lost, nothing leaked: many users over the same records."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

import asyncpg
from draftline import AsyncClient, Record
from draftline_server.store.drafts import SQL
from support.concurrent_users import COLLECTION, RECORDS, Ledger, User
from support.soak_scale import length

USERS = 20
SOAK_S = length("DRAFTS_S", 1.0, soak=60.0)
MOST_PER_S = 100  # actions of each user, so that the work is bounded on a fast machine
LEAST = 25  # actions of each user, so that there is something to see on a slow one
SEED = 20261120


async def test_nothing_is_lost_and_nothing_leaks(server: Any, report: Callable[[str], None]) -> None:
    tenant_id = f"tenant-{uuid.uuid4().hex[:12]}"
    ledger = Ledger()
    clients = [
        AsyncClient(server.address, tenant_id=tenant_id, user=f"u{number}", timeout=600) for number in range(USERS)
    ]
    try:
        await import_all(clients[0], ledger)
        users = [User(f"u{number}", client, ledger, SEED) for number, client in enumerate(clients)]
        await asyncio.gather(*(work(user) for user in users))
        for user in users:
            await user.list()
            assert {each.record_id async for each in drafts_of(user)} == set(user.drafts)
        assert ledger.surprises == []
        await check_records(clients[0], ledger)
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    assert await broken_drafts(server.url, tenant_id) == []
    report(f"{sum(ledger.counts.values())} actions: {dict(sorted(ledger.counts.items()))}")
    for action in ("save", "commit", "patch", "batch", "load", "discard", "list"):
        assert ledger.counts[action] > 0, f"{action} never came about"


async def work(user: User) -> None:
    end = time.monotonic() + SOAK_S
    for done in range(int(SOAK_S * MOST_PER_S)):
        if done >= LEAST and time.monotonic() > end:
            return
        await user.act()


async def import_all(client: AsyncClient, ledger: Ledger) -> None:
    ledger.public.add("setup")
    await client.import_content(COLLECTION, [(each, {"import": "setup"}) for each in RECORDS])
    for each in RECORDS:
        ledger.imports[each].add("setup")


def drafts_of(user: User) -> Any:
    return user.client.get_merged(COLLECTION, view="drafts_only")


async def check_records(client: AsyncClient, ledger: Ledger) -> None:
    stored = {}
    async for each in client.get_merged(COLLECTION, view="baseline", show_deleted=True):
        stored[each.record_id] = each.record
    assert set(stored) == set(ledger.writes) | set(ledger.imports)
    for record in stored.values():
        check_record(record, ledger)


def check_record(record: Record, ledger: Ledger) -> None:
    """Every version of the record is an acknowledged write, and its content is what the last of them made of it."""
    writes, imports = ledger.writes.get(record.record_id, {}), ledger.imports.get(record.record_id, set())
    unclaimed = sorted(set(range(1, record.version + 1)) - set(writes))
    where = f"{record.record_id} at version {record.version}"
    assert len(unclaimed) == len(imports), where
    assert max(writes, default=0) <= record.version, where
    content: dict[str, Any] = {}
    is_deleted = False
    if unclaimed:
        # Which of the imports was the last is seen in the record, unless a later write replaced it all.
        content = {"import": record.content.get("import", "replaced")}
        assert content["import"] in {*imports, "replaced"}, where
    for version in range(unclaimed[-1] + 1 if unclaimed else 1, record.version + 1):
        content |= writes[version].values
        is_deleted = writes[version].is_deleted
    assert record.content == {key: value for key, value in content.items() if value is not None}, where
    assert (record.delete_time is not None) is is_deleted, where


async def broken_drafts(url: str, tenant_id: str) -> list[asyncpg.Record]:
    """The drafts of the tenant whose kept merge is not their edit applied to the record."""
    found: list[asyncpg.Record] = []
    statement = SQL["check_drafts"]
    connection = await asyncpg.connect(url)
    try:
        after = {"tenant_id": tenant_id, "user_id": "", "collection": "", "record_id": ""}
        while rows := await connection.fetch(statement.sql, *statement.arguments({**after, "limit": 1_000})):
            found += [row for row in rows if row["tenant_id"] == tenant_id and (row["differs"] or row["is_orphan"])]
            after = {key: rows[-1][key] for key in after}
    finally:
        await connection.close()
    return found
