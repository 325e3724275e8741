"""The model of a tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class TenantQuotas:
    """The quotas that apply to a tenant; 0: no limit.

    Attributes:
        max_record_count: the maximum number of records.
        max_content_bytes: the maximum of the bytes of their contents, as stored.
        max_draft_count: the maximum number of drafts of all users.
        overridden: the names of the quotas above that are set for this tenant; the others are those of the settings.
    """

    max_record_count: int
    max_content_bytes: int
    max_draft_count: int
    overridden: tuple[str, ...]


@dataclass(frozen=True)
class Tenant:
    """A tenant, and what it used at the last count. The figures are 0 if it was not counted yet.

    Attributes:
        collection_count: collections that have a record or a spec.
        record_count: records, including deleted ones that are not purged.
        content_bytes: bytes of their contents in the database, after compression.
        draft_count: drafts of all users.
        count_time: the time of the count; None: not counted yet.
        quotas: the quotas that apply to it.
    """

    tenant_id: str
    collection_count: int
    record_count: int
    content_bytes: int
    draft_count: int
    count_time: datetime | None
    quotas: TenantQuotas
