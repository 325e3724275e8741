"""Quotas of tenants."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuotaOptions:
    """The quotas of every tenant; 0: none."""

    records: int = 0
    bytes: int = 0
    drafts: int = 0
