"""The tenants of the database, and the count of what each uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from ..domain.quotas import QUOTAS, Quota
from .database import Database
from .page_tokens import PageTokens
from .quotas import own_quotas
from .statements import Statement, load
from .transaction import DedicatedConnection, Rows, Transaction

SQL = load("tenants")
PAGE = 1_000  # tenants in one statement
PART = 10_000  # records or drafts in one statement
LIST = ("ListTenants",)  # what page tokens are bound to

Fetch = Callable[[Statement, dict[str, object]], Awaitable[Rows]]


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """The use of a tenant at its last count; `counted_at` is None, and the figures are 0, if there was none."""

    tenant_id: str
    collections: int
    records: int
    bytes: int
    drafts: int
    counted_at: datetime | None
    own_quotas: Mapping[Quota, int]


class Tenants:
    """Lists tenants."""

    def __init__(self, database: Database, page_tokens: PageTokens) -> None:
        self._database = database
        self._page_tokens = page_tokens

    async def page(self, size: int, page_token: str) -> tuple[list[TenantUsage], str]:
        """Return a page of tenants in the order of their ids, and the token of the next page."""
        after = str(self._page_tokens.open(LIST, page_token)[0]) if page_token else ""
        values: dict[str, object] = {"after": after, "limit": size + 1}
        rows = await self._database.fetch(SQL["list_tenants"], values, idempotent=True)
        found = [_usage_of(row) for row in rows[:size]]
        more = len(rows) > size
        return found, self._page_tokens.seal(LIST, [found[-1].tenant_id]) if more else ""

    async def set_quotas(self, tenant_id: str, changes: Mapping[Quota, int], user_id: str) -> dict[Quota, int]:
        """Set quotas of a tenant, and return those that it has of its own now. -1: that of the settings."""
        values: dict[str, object] = {quota: changes.get(quota) for quota in QUOTAS}
        values |= {"tenant_id": tenant_id, "user_id": user_id}

        async def write(transaction: Transaction) -> dict[Quota, int]:
            rows = await transaction.fetch(SQL["set_tenant_quota"], values)
            await transaction.fetch(SQL["forget_tenant_quota"], {"tenant_id": tenant_id})
            return own_quotas(rows[0])

        return await self._database.transact(write)


async def count_tenants(connection: DedicatedConnection) -> int:
    """Count what each tenant uses, in parts of bounded size, and return the number of tenants.

    The parts are not of one snapshot: writes during the count may be missed.
    """
    since, after, tenants = (await connection.fetch(SQL["count_start"], {}))[0]["moment"], "", 0
    while rows := await connection.fetch(SQL["list_tenants"], {"after": after, "limit": PAGE}):
        for row in rows:
            await _count(connection.fetch, row["tenant_id"])
        after, tenants = rows[-1]["tenant_id"], tenants + len(rows)
    await connection.fetch(SQL["forget_tenants"], {"since": since})
    return tenants


async def _count(fetch: Fetch, tenant_id: str) -> None:
    records, collections, size = 0, 0, 0
    cursor: dict[str, object] = {"collection": "", "record_id": ""}
    while True:
        (part,) = await fetch(SQL["count_records"], {"tenant_id": tenant_id, **cursor, "limit": PART})
        records, collections, size = records + part["rows"], collections + part["collections"], size + part["bytes"]
        if part["rows"] < PART:
            break
        cursor = {name: part[name] for name in cursor}
    (empty,) = await fetch(SQL["count_empty_collections"], {"tenant_id": tenant_id})
    values: dict[str, object] = {
        "tenant_id": tenant_id,
        "collections": collections + empty["rows"],
        "records": records,
        "bytes": size,
        "drafts": await _count_drafts(fetch, tenant_id),
    }
    await fetch(SQL["save_tenant_usage"], values)


async def _count_drafts(fetch: Fetch, tenant_id: str) -> int:
    drafts = 0
    cursor: dict[str, object] = {"user_id": "", "collection": "", "record_id": ""}
    while True:
        (part,) = await fetch(SQL["count_drafts_of_tenant"], {"tenant_id": tenant_id, **cursor, "limit": PART})
        drafts += int(part["rows"])
        if part["rows"] < PART:
            return drafts
        cursor = {name: part[name] for name in cursor}


def _usage_of(row: asyncpg.Record) -> TenantUsage:
    return TenantUsage(
        tenant_id=row["tenant_id"],
        collections=row["collections"] or 0,
        records=row["records"] or 0,
        bytes=row["bytes"] or 0,
        drafts=row["drafts"] or 0,
        counted_at=row["counted_at"],
        own_quotas=own_quotas(row),
    )
