"""The tables, declared once: what request-shaped queries are built from, and what
the migrations are compared with. All live in the schema `draftline`."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Index, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "draftline"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={"pk": "%(table_name)s_pkey", "ck": "%(table_name)s_%(constraint_name)s_check"},
)


def _key(name: str) -> Column[str]:
    return Column(name, Text(collation="C"), primary_key=True)


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


record = Table(
    "record",
    metadata,
    _key("tenant_id"),
    _key("collection"),
    _key("record_id"),
    Column("content", JSONB, CheckConstraint("jsonb_typeof(content) = 'object'", name="content"), nullable=False),
    Column("version", BigInteger, CheckConstraint("version > 0", name="version"), nullable=False),
    Column("parent_id", Text(collation="C")),
    Column("position", BigInteger),
    _time("created_at"),
    Column("created_by", Text, nullable=False),
    _time("updated_at"),
    Column("updated_by", Text, nullable=False),
    _time("deleted_at", nullable=True),
    comment="The baseline: one row a record.",
)

collection = Table(
    "collection",
    metadata,
    _key("tenant_id"),
    _key("collection"),
    Column("fields", JSONB, nullable=False, comment='[{"path": [tokens], "type": "TEXT"}]'),
    Column("orders", JSONB, nullable=False, comment='[[{"path": [tokens], "descending": false}]]'),
    Column("indexed_text", JSONB, nullable=False, comment="the paths of the TEXT fields: [[tokens]]"),
    Column("json_schema", Text, nullable=False, comment="empty: none"),
    Column("version", BigInteger, nullable=False),
    _time("created_at"),
    _time("updated_at"),
    comment="What was declared of a collection; a collection without a row works all the same.",
)

draft = Table(
    "draft",
    metadata,
    _key("tenant_id"),
    _key("user_id"),
    _key("collection"),
    _key("record_id"),
    Column("kind", Text, CheckConstraint("kind IN ('CHANGE', 'CREATE', 'DELETE')", name="kind"), nullable=False),
    Column("edit", JSONB, nullable=False, comment="the edit, as 0002_drafts.sql defines it"),
    Column(
        "base",
        JSONB,
        nullable=False,
        comment="the edit that puts back what the baseline held at the edited paths",
    ),
    Column(
        "base_version",
        BigInteger,
        nullable=False,
        comment="the version of the record that the draft was first saved over; 0: none",
    ),
    Column(
        "merged",
        JSONB,
        CheckConstraint("jsonb_typeof(merged) = 'object'", name="merged"),
        nullable=False,
        comment="always the edit applied to the content of the record",
    ),
    Column("version", BigInteger, CheckConstraint("version > 0", name="version"), nullable=False),
    Column("session_id", Text(collation="C"), nullable=False, comment="empty: none"),
    Column("change_reason", Text, nullable=False, comment="empty: none"),
    _time("created_at"),
    _time("updated_at"),
    Index("draft_record_idx", "tenant_id", "collection", "record_id"),
    comment="One user's pending edit of one record.",
)

secret = Table(
    "secret",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    comment="What the servers of this database share; page tokens are sealed with it.",
)
