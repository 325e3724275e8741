"""The tables of syncs with systems of record."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, Sequence, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from .metadata import key_column, metadata, time_column

sync_mark = Sequence("sync_mark", metadata=metadata)

sync_upstream = Table(
    "sync_upstream",
    metadata,
    key_column("tenant_id"),
    key_column("upstream"),
    Column("endpoint", Text, nullable=False, comment="its name in the file of endpoints"),
    Column("config", JSONB, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("push_paused", Boolean, nullable=False, server_default=text("false")),
    Column("pull_paused", Boolean, nullable=False, server_default=text("false")),
    Column("suspended_reason", Text, comment="why the service stopped the sync; NULL: it runs"),
    Column("suspended_message", Text),
    time_column("suspended_at", nullable=True),
    Column("owner", Text, comment="the worker that holds the lease until lease_until"),
    time_column("lease_until", nullable=True),
    Column(
        "log_xact",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="with change_id: how far the change log was read for new changes",
    ),
    Column("change_id", BigInteger, nullable=False, server_default=text("0")),
    time_column("swept_at", nullable=True, comment="when all records were last compared; NULL: do it now"),
    Column(
        "failures",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="requests in a row that did not reach the upstream",
    ),
    time_column("open_until", nullable=True, comment="until when only one request may try the upstream"),
    time_column("created_at"),
    time_column("updated_at"),
    comment="The syncs of tenants: each of one system of record.",
)

sync_collection = Table(
    "sync_collection",
    metadata,
    key_column("tenant_id"),
    key_column("collection"),
    Column("upstream", Text(collation="C"), nullable=False),
    Column(
        "config",
        JSONB,
        nullable=False,
        comment='{"resource": name at the upstream, "fields": see functions/sync.sql, '
        '"policies": see draftline.sync_policy}',
    ),
    Column("cursor", Text, comment="of the upstream, after the last page of changes that was merged"),
    time_column("pulled_at", nullable=True),
    time_column("snapshot_at", nullable=True, comment="when a snapshot was last merged to its end; NULL: never"),
    Column("requested", Text, comment="CHANGES or SNAPSHOT: pull it now; NULL: when it is due"),
    Column(
        "allowed_deletions",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="how many deletions the next snapshot may make above the limit",
    ),
    time_column("created_at"),
    comment="The collections of syncs.",
)

sync_record = Table(
    "sync_record",
    metadata,
    key_column("tenant_id"),
    key_column("collection"),
    key_column("record_id"),
    Column("remote_id", Text(collation="C")),
    Column("remote_version", Text),
    Column("is_there", Boolean, nullable=False, server_default=text("false"), comment="the upstream holds it"),
    Column(
        "shadow",
        JSONB,
        comment="the mapped fields that the upstream holds; NULL: those of the record at its acked_version",
    ),
    Column(
        "state",
        Text,
        CheckConstraint("state IN ('IDLE', 'DUE', 'SENDING', 'HELD', 'FAILED')", name="state"),
        nullable=False,
        server_default=text("'IDLE'"),
        comment="IDLE: synced; DUE: to be sent; SENDING: an attempt is out; HELD: in conflict; FAILED: refused",
    ),
    Column(
        "conflicts",
        JSONB,
        nullable=False,
        server_default=text("'[]'"),
        comment="as draftline.sync_conflict returns them",
    ),
    Column("error", JSONB, comment='{"reason", "message", "field"}'),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    time_column("next_at", nullable=True, comment="when a worker has to look at it; NULL: not before it changes"),
    time_column("due_since", nullable=True),
    Column(
        "recheck",
        Text,
        CheckConstraint("recheck IN ('RECORD', 'ATTEMPT')", name="recheck"),
        comment="RECORD: read it at the upstream, because a pull had to leave it; ATTEMPT: to learn what became of the "
        "attempt",
    ),
    Column(
        "attempt_id",
        UUID(as_uuid=False),
        comment="the key of the write that is out; written before it is sent",
    ),
    Column("op", Text, CheckConstraint("op IN ('CREATE', 'UPDATE', 'DELETE')", name="op")),
    Column("sent", JSONB, comment="the mapped fields that the attempt leaves upstream"),
    Column(
        "seen_version",
        BigInteger,
        comment="the version of the record that the attempt sends, or that was held or refused",
    ),
    Column("if_match", Text, comment="the remote_version that the attempt requires; NULL: any"),
    Column(
        "in_doubt",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="the attempt may have been applied",
    ),
    Column(
        "known_at",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="sync_mark of the last write that ended, or read that was merged: reads that began before are out of "
        "date",
    ),
    Index(
        "sync_record_remote_idx",
        "tenant_id",
        "collection",
        "remote_id",
        unique=True,
        postgresql_where=text("remote_id IS NOT NULL"),
    ),
    Index(
        "sync_record_next_idx",
        "tenant_id",
        "collection",
        "next_at",
        postgresql_where=text("next_at IS NOT NULL"),
    ),
    Index(
        "sync_record_state_idx",
        "tenant_id",
        "collection",
        "state",
        "record_id",
        postgresql_where=text("state <> 'IDLE'"),
    ),
    comment="Records of bound collections, as the upstream is known to hold them, and what is pending.",
)

sync_event = Table(
    "sync_event",
    metadata,
    key_column("tenant_id"),
    Column(
        "event_id",
        BigInteger,
        Sequence("sync_event_id", metadata=metadata),
        primary_key=True,
        server_default=text("nextval('draftline.sync_event_id')"),
    ),
    Column("upstream", Text(collation="C"), nullable=False),
    Column("collection", Text(collation="C")),
    Column("record_id", Text(collation="C")),
    Column("kind", Text, nullable=False),
    Column("reason", Text),
    Column("message", Text),
    Column("detail", JSONB),
    time_column("created_at"),
    Index("sync_event_created_idx", "tenant_id", "created_at"),
    comment="What happened to syncs and their records.",
)
