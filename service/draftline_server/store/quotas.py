"""The quotas of tenants. A process keeps the use of tenants in memory, so writes send no statement for them.

Tolerance: what a tenant writes between two counts is not seen, nor are the first 10 % of a quota.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import asyncpg

from ..domain.errors import DraftlineError, QuotaExceededError, RecordNotFoundError
from ..domain.quotas import QUOTAS, Quota, QuotaOptions
from ..domain.records import NewRecord, Patch
from .database import Database
from .statements import load

SQL = load("tenants")
NEAR = 0.9  # of a quota

FREED_BY: Mapping[Quota, str] = {
    "records": "purge deleted records",
    "bytes": "purge deleted records",
    "drafts": "commit or discard drafts",
}


def own_quotas(row: asyncpg.Record) -> dict[Quota, int]:
    """Return the quotas of a row that a tenant has of its own."""
    return {quota: row[f"max_{quota}"] for quota in QUOTAS if row[f"max_{quota}"] is not None}


@dataclass(frozen=True, slots=True, order=True)
class Near:
    """A tenant that uses 90 % of a quota or more."""

    tenant_id: str
    quota: Quota


class Quotas:
    """Rejects writes that add to what a tenant uses when it has reached a quota."""

    def __init__(self, database: Database, options: QuotaOptions) -> None:
        self._database = database
        self._options = options
        self._used: dict[str, dict[Quota, int]] = {}
        self._own_limits: dict[str, dict[Quota, int]] = {}  # of tenants with quotas of their own

    async def refresh(self) -> None:
        """Read the use of tenants at the last count, and the quotas of tenants that have their own."""
        values: dict[str, object] = {f"max_{quota}": limit for quota, limit in self._options.limits({}).items()}
        rows = await self._database.fetch(SQL["tenants_by_use"], values, idempotent=True)
        self._used = {row["tenant_id"]: {quota: row[quota] for quota in QUOTAS} for row in rows}
        own = {row["tenant_id"]: own_quotas(row) for row in rows}
        self._own_limits = {tenant: self._options.limits(each) for tenant, each in own.items() if each}

    def limit(self, tenant_id: str, quota: Quota) -> int:
        """Return a quota of a tenant; 0: none."""
        limits = self._own_limits.get(tenant_id)
        return (self._options.limits({}) if limits is None else limits)[quota]

    def near(self) -> dict[Near, int]:
        """Return the use of tenants that are near a quota or have reached it."""
        return {
            Near(tenant_id, quota): use
            for tenant_id, used in self._used.items()
            for quota, use in used.items()
            if 0 < self.limit(tenant_id, quota) * NEAR <= use
        }

    def check_new_records(self, tenant_id: str, added: int) -> None:
        """Raise QuotaExceededError if the tenant may not have `added` more records."""
        if added:
            self._check(tenant_id, "records", added)
            self._check(tenant_id, "bytes", 1)

    def limit_patches(self, tenant_id: str, patches: Sequence[Patch]) -> LimitedPatches:
        """Return patches that create no record if the tenant may have no more."""
        try:
            if any(patch.allow_missing for patch in patches):
                self.check_new_records(tenant_id, 1)
        except QuotaExceededError as error:
            return LimitedPatches([replace(patch, allow_missing=False) for patch in patches], patches, error)
        return LimitedPatches(patches, patches)

    @contextmanager
    def limit_creation(self, tenant_id: str, new: NewRecord) -> Iterator[NewRecord]:
        """Yield a creation that only replaces a deleted record if the tenant may have no more records.

        Raises QuotaExceededError if it would have created one.
        """
        try:
            self.check_new_records(tenant_id, 1)
        except QuotaExceededError as error:
            if not new.record_id or not new.allow_deleted:
                raise
            try:
                yield replace(new, allow_missing=False)
            except RecordNotFoundError:
                raise error from None
        else:
            yield new

    def check_new_drafts(self, tenant_id: str, added: int) -> None:
        """Raise QuotaExceededError if the tenant may not have `added` more drafts."""
        if added:
            self._check(tenant_id, "drafts", added)

    def _check(self, tenant_id: str, quota: Quota, added: int) -> None:
        limit = self.limit(tenant_id, quota)
        if limit == 0:
            return
        use = self._used.get(tenant_id, {}).get(quota, 0)
        if use + added > limit:
            more = f" and would add {added}" if use < limit and quota != "bytes" else ""
            raise QuotaExceededError(
                f"the tenant uses {use} of at most {limit} {quota}{more}, so the write was rejected; "
                f"{FREED_BY[quota]}, or ask the operator to raise the quota",
                quota=quota, limit=limit, use=use,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LimitedPatches:
    """The patches to apply instead of those of a request, and the error of those that would have created a record."""

    patches: Sequence[Patch]
    requested: Sequence[Patch]
    error: QuotaExceededError | None = None

    def explained(self, index: int, error: DraftlineError) -> DraftlineError:
        """Return the error of a patch; the quota if the patch as requested would have created the record."""
        patch = self.requested[index]
        creates = patch.allow_missing and isinstance(error, RecordNotFoundError)
        return self.error if self.error is not None and creates else error
