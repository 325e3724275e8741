"""The quotas of tenants. A process keeps the use of tenants in memory, so writes send no statement for them.

Tolerance: what a tenant writes between two counts is not seen, nor are the first 10 % of a quota.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..domain.errors import DraftlineError, QuotaExceededError, RecordDeletedError, RecordNotFoundError
from ..domain.quotas import QuotaOptions
from ..domain.records import Patch
from .database import Database
from .statements import load

SQL = load("tenants")
NEAR = 0.9  # of a quota

Quota = Literal["records", "bytes", "drafts"]
FREED_BY: Mapping[Quota, str] = {
    "records": "purge deleted records",
    "bytes": "purge deleted records",
    "drafts": "commit or discard drafts",
}


@dataclass(frozen=True, slots=True, order=True)
class Near:
    """A tenant that uses 90 % of a quota or more."""

    tenant_id: str
    quota: Quota


class Quotas:
    """Rejects writes that add to what a tenant uses when it has reached a quota."""

    def __init__(self, database: Database, options: QuotaOptions) -> None:
        self._database = database
        limits: Mapping[Quota, int] = {"records": options.records, "bytes": options.bytes, "drafts": options.drafts}
        self.limits = {quota: limit for quota, limit in limits.items() if limit}
        self._used: dict[str, dict[Quota, int]] = {}

    async def refresh(self) -> None:
        """Read the use of tenants at the last count."""
        values: dict[str, object] = {
            f"max_{quota}": self.limits.get(quota, 0) for quota in ("records", "bytes", "drafts")
        }
        rows = await self._database.fetch(SQL["tenants_by_use"], values, idempotent=True)
        self._used = {row["tenant_id"]: {quota: row[quota] for quota in self.limits} for row in rows}

    def near(self) -> dict[Near, int]:
        """Return the use of tenants that are near a quota or have reached it."""
        return {
            Near(tenant_id, quota): use
            for tenant_id, used in self._used.items()
            for quota, use in used.items()
            if use >= self.limits[quota] * NEAR
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
            updates = [replace(patch, allow_missing=False, allow_deleted=False) for patch in patches]
            return LimitedPatches(updates, patches, error)
        return LimitedPatches(patches, patches)

    def check_new_drafts(self, tenant_id: str, added: int) -> None:
        """Raise QuotaExceededError if the tenant may not have `added` more drafts."""
        if added:
            self._check(tenant_id, "drafts", added)

    def _check(self, tenant_id: str, quota: Quota, added: int) -> None:
        limit = self.limits.get(quota)
        if limit is None:
            return
        use = self._used.get(tenant_id, {}).get(quota, 0)
        if use + added > limit:
            raise QuotaExceededError(
                f"the tenant uses {use} of at most {limit} {quota}, so the write was rejected; {FREED_BY[quota]}, "
                "or ask the operator to raise the quota",
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
        revives = patch.allow_missing and patch.allow_deleted and isinstance(error, RecordDeletedError)
        return self.error if self.error is not None and (creates or revives) else error
