"""The tables of the change log."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, DateTime, Index, Sequence, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from .metadata import key_column, metadata

change = Table(
    "change",
    metadata,
    key_column("tenant_id"),
    Column(
        "log_xact",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="the greatest transaction number of this and all earlier changes of its record",
    ),
    Column("change_id", BigInteger, Sequence("change_id", metadata=metadata), primary_key=True),
    Column("collection", Text(collation="C"), nullable=False),
    Column("record_id", Text(collation="C"), nullable=False),
    Column(
        "version",
        BigInteger,
        nullable=False,
        comment="the version of the record after the change; 0 for a draft; 0 or less for a purge, one less each time, "
        "because versions start again at 1 after it",
    ),
    Column(
        "kind",
        Text,
        CheckConstraint("kind IN ('CREATE', 'UPDATE', 'DELETE', 'UNDELETE', 'DRAFT', 'PURGE')", name="kind"),
        nullable=False,
        comment="DRAFT: a draft was saved or removed, which only its user may see. "
        "PURGE: the record and its changes were removed",
    ),
    Column("source", Text, nullable=False, comment="the rpc that wrote it"),
    Column(
        "edit",
        JSONB,
        comment="the edit that turns the content before into the content after; NULL for a creation, whose content is "
        "not stored twice",
    ),
    Column("base", JSONB, comment="the edit that turns the content after into the content before; NULL: not stored"),
    Column(
        "snapshot", JSONB, comment="the whole content before the change, stored if draftline.keeps_snapshot(version)"
    ),
    Column(
        "attributes",
        JSONB,
        comment='{"parent_id": [old, new], "position": [old, new]}, without those that did not change',
    ),
    Column("user_id", Text(collation="C"), nullable=False),
    Column("session_id", Text(collation="C"), nullable=False, comment="empty: none"),
    Column("commit_id", UUID(as_uuid=False)),
    Column("change_reason", Text, nullable=False, comment="empty: none"),
    Column("request_id", UUID(as_uuid=False)),
    Column("created_at", DateTime(timezone=True), primary_key=True),
    Index("change_record_idx", "tenant_id", "collection", "record_id", "version"),
    Index(
        "change_user_idx",
        "tenant_id",
        "user_id",
        "log_xact",
        "change_id",
        postgresql_where=text("kind <> 'DRAFT'"),
    ),
    Index(
        "change_session_idx",
        "tenant_id",
        "session_id",
        "log_xact",
        "change_id",
        postgresql_where=text("session_id <> '' AND kind <> 'DRAFT'"),
    ),
    Index(
        "change_collection_idx",
        "tenant_id",
        "collection",
        "log_xact",
        "change_id",
        postgresql_where=text("kind <> 'DRAFT'"),
    ),
    Index(
        "change_commit_idx",
        "tenant_id",
        "commit_id",
        "log_xact",
        "change_id",
        postgresql_where=text("commit_id IS NOT NULL"),
    ),
    comment="The log of all changes of records, with a notice of each draft saved or removed.",
    postgresql_partition_by="RANGE (created_at)",
)

change_log = Table(
    "change_log",
    metadata,
    Column(
        "only_row", Boolean, CheckConstraint("only_row", name="only_row"), primary_key=True, server_default=text("true")
    ),
    Column(
        "dropped_xact",
        BigInteger,
        nullable=False,
        comment="with dropped_id: the log position of the last entry that was dropped",
    ),
    Column("dropped_id", BigInteger, nullable=False),
    Column(
        "cluster",
        BigInteger,
        nullable=False,
        comment="the system_identifier of PostgreSQL at the last maintenance of the log",
    ),
    Column("horizon", BigInteger, nullable=False, comment="draftline.log_horizon() at the last maintenance of the log"),
    Column(
        "xact_offset",
        BigInteger,
        nullable=False,
        comment="added to transaction numbers since the log moved to another cluster",
    ),
    comment="The state of the log as a whole; one row.",
)
