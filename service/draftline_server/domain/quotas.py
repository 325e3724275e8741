"""Quotas of tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Quota = Literal["records", "bytes", "drafts"]
QUOTAS: tuple[Quota, ...] = ("records", "bytes", "drafts")


@dataclass(frozen=True, slots=True)
class QuotaOptions:
    """The quotas of every tenant, unless it has quotas of its own; 0: none."""

    records: int = 0
    bytes: int = 0
    drafts: int = 0

    def limits(self, own: Mapping[Quota, int | None]) -> dict[Quota, int]:
        """Return the quotas that apply to a tenant with these quotas of its own; None: those of the settings."""
        default = {"records": self.records, "bytes": self.bytes, "drafts": self.drafts}
        given = {quota: own.get(quota) for quota in QUOTAS}
        return {quota: default[quota] if limit is None else limit for quota, limit in given.items()}
