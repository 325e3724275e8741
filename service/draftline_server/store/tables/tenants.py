"""The tables of the use and the quotas of tenants."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Table, Text

from .metadata import key_column, metadata, time_column

tenant_usage = Table(
    "tenant_usage",
    metadata,
    key_column("tenant_id"),
    Column("collections", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False, comment="including deleted ones that are not purged"),
    Column("bytes", BigInteger, nullable=False, comment="of the contents of records, as stored, after compression"),
    Column("drafts", BigInteger, nullable=False),
    time_column("counted_at"),
    comment="The use of each tenant at its last count.",
)

tenant_quota = Table(
    "tenant_quota",
    metadata,
    key_column("tenant_id"),
    Column("records", BigInteger),
    Column("bytes", BigInteger),
    Column("drafts", BigInteger),
    time_column("changed_at"),
    Column("changed_by", Text, nullable=False),
    CheckConstraint("least(records, bytes, drafts) >= 0", name="limits"),
    comment="The quotas of single tenants. NULL: that of the settings; 0: none.",
)
