"""The tables of a switchover to partitioned tables."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from .metadata import metadata, time_column

_PHASES = "'CREATED', 'SYNCED', 'COPIED', 'SWITCHED', 'DROPPING_COPY', 'DROPPING_OLD', 'DONE'"

partition_switch = Table(
    "partition_switch",
    metadata,
    Column("only_row", Boolean, CheckConstraint("only_row", name="only_row"), primary_key=True,
           server_default=text("true")),
    Column("phase", Text, CheckConstraint(f"phase IN ({_PHASES})", name="phase"), nullable=False,
           comment="what is done: see `draftline partitions status`"),
    Column("modulus", Integer, nullable=False,
           comment="how many partitions the tenants share that have none of their own"),
    Column("tenants", ARRAY(Text), nullable=False, comment="the tenants that get partitions of their own"),
    Column("positions", JSONB, nullable=False, server_default=text("'{}'"),
           comment='by table: the key of the last row that is copied, as texts, or "done"'),
    Column("copied", JSONB, nullable=False, server_default=text("'{}'"), comment="by table: rows that are copied"),
    Column("copied_xact", BigInteger, comment="the transaction that completed the copy"),
    Column("verified", JSONB,
           comment="rows and checksums by table at the last verification that succeeded; NULL: none in this phase"),
    time_column("verified_at", nullable=True),
    time_column("started_at"),
    time_column("changed_at"),
    comment="The state of a switchover to partitioned tables; one row, none before it begins.",
)  # fmt: skip

partition_switch_log = Table(
    "partition_switch_log",
    metadata,
    time_column("logged_at"),
    Column("event", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    comment="The steps of switchovers, with rows and checksums.",
)
