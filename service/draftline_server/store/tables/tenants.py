"""The table of the use of tenants."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table

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
