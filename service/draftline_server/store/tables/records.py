"""The tables of records and of the drafts over them."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from .metadata import key_column, metadata, time_column

record = Table(
    "record",
    metadata,
    key_column("tenant_id"),
    key_column("collection"),
    key_column("record_id"),
    Column("content", JSONB, CheckConstraint("jsonb_typeof(content) = 'object'", name="content"), nullable=False),
    Column("version", BigInteger, CheckConstraint("version > 0", name="version"), nullable=False),
    Column("parent_id", Text(collation="C")),
    Column("position", BigInteger),
    time_column("created_at"),
    Column("created_by", Text, nullable=False),
    time_column("updated_at"),
    Column("updated_by", Text, nullable=False),
    time_column("deleted_at", nullable=True),
    Column(
        "log_xact",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="the greatest transaction number of its changes",
    ),
    Column(
        "acked_version",
        BigInteger,
        comment="the newest version whose content the system of record is known to hold; NULL: none",
    ),
    Index(
        "record_deleted_idx",
        "tenant_id",
        "collection",
        "deleted_at",
        "record_id",
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
    Index(
        "record_children_idx",
        "tenant_id",
        "collection",
        "parent_id",
        "position",
        "record_id",
        postgresql_where=text("parent_id IS NOT NULL"),
    ),
    comment="The baseline: one row a record.",
)

draft = Table(
    "draft",
    metadata,
    key_column("tenant_id"),
    key_column("user_id"),
    key_column("collection"),
    key_column("record_id"),
    Column("kind", Text, CheckConstraint("kind IN ('CHANGE', 'CREATE', 'DELETE')", name="kind"), nullable=False),
    Column("edit", JSONB, nullable=False, comment="the edit; migrations/functions/edits.sql defines its format"),
    Column(
        "base",
        JSONB,
        nullable=False,
        comment="the edit that restores the values that the record had at the edited paths",
    ),
    Column(
        "base_version",
        BigInteger,
        nullable=False,
        comment="the version of the record when the draft was first saved; 0: there was no record",
    ),
    Column(
        "merged",
        JSONB,
        CheckConstraint("jsonb_typeof(merged) = 'object'", name="merged"),
        nullable=False,
        comment="the edit applied to the current content of the record",
    ),
    Column("version", BigInteger, CheckConstraint("version > 0", name="version"), nullable=False),
    Column("session_id", Text(collation="C"), nullable=False, comment="empty: none"),
    Column("change_reason", Text, nullable=False, comment="empty: none"),
    time_column("created_at"),
    time_column("updated_at"),
    Column(
        "definition_version",
        BigInteger,
        comment="the version of the collection spec that validated the draft when it was saved; NULL: unknown",
    ),
    Column(
        "attributes",
        JSONB,
        comment='the attributes that the draft sets, each with its base: {"parent_id": [base, mine]}; '
        'of a deletion the base alone: {"parent_id": [base]}; NULL: none',
    ),
    Index("draft_record_idx", "tenant_id", "collection", "record_id"),
    Index(
        "draft_create_idx",
        "tenant_id",
        "user_id",
        "collection",
        "record_id",
        postgresql_where=text("kind = 'CREATE'"),
    ),
    comment="One user's pending edit of one record.",
)
