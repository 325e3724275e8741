"""The tables of collection specs, and of the entries of their orders."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Index, LargeBinary, Sequence, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from .metadata import key_column, metadata, time_column

collection = Table(
    "collection",
    metadata,
    key_column("tenant_id"),
    key_column("collection"),
    Column(
        "fields",
        JSONB,
        nullable=False,
        comment='[{"path": [tokens], "type": "TEXT"}], with "on_type_mismatch": "REFUSE" if the spec sets it',
    ),
    Column("orders", JSONB, nullable=False, comment='[[{"path": [tokens], "descending": false}]]'),
    Column(
        "indexed_text",
        JSONB,
        nullable=False,
        comment='the checks of each write: {"path": [tokens], "type": "DATE"} for a field that rejects other types, '
        "[tokens] for the length of a TEXT field",
    ),
    Column("json_schema", Text, nullable=False, comment="empty: none"),
    Column("version", BigInteger, nullable=False),
    time_column("created_at"),
    time_column("updated_at"),
    Column(
        "history",
        Text,
        CheckConstraint("history IN ('VALUES', 'PATHS')", name="history"),
        nullable=False,
        server_default=text("'VALUES'"),
        comment="VALUES or PATHS",
    ),
    Column(
        "statistics",
        JSONB,
        nullable=False,
        server_default=text("'[]'"),
        comment='[{"name": "by genre", "keys": [{"path": [names], "type": "TEXT"}], "measures": [[names]]}]',
    ),
    Column("upstream", Text(collation="C"), comment="the sync that the collection belongs to; NULL: none"),
    Column(
        "relations",
        JSONB,
        nullable=False,
        server_default=text("'[]'"),
        comment='[{"name": "author", "path": [names], "collection": "people", "inverse": "films", '
        '"integrity": "NONE", "on_delete": "NONE"}]',
    ),
    Index("collection_relations_idx", "tenant_id", "collection", postgresql_where=text("relations <> '[]'")),
    comment="The collection specs; a collection works without one.",
)

collection_order = Table(
    "collection_order",
    metadata,
    key_column("tenant_id"),
    key_column("collection"),
    Column(
        "order_id",
        BigInteger,
        Sequence("order_id", metadata=metadata),
        primary_key=True,
        server_default=text("nextval('draftline.order_id')"),
        comment="never reused, not even after the order is dropped",
    ),
    Column(
        "keys",
        JSONB,
        nullable=False,
        comment='[{"path": [names], "type": "TEXT", "descending": false}]; '
        "type ID: a relation, with an entry for each id that it names",
    ),
    Column("fields", ARRAY(Text), nullable=False, comment="the top-level fields of the content that the keys read"),
    Column(
        "state",
        Text,
        CheckConstraint("state IN ('BUILDING', 'READY', 'DROPPING', 'DELETING')", name="state"),
        nullable=False,
        server_default=text("'BUILDING'"),
        comment="BUILDING: writes keep its entries, earlier ones are being added; READY: its entries are complete; "
        "DROPPING: no longer declared, writes keep its entries while lists may read them; "
        "DELETING: its entries are being deleted",
    ),
    Column(
        "record_filled_to",
        Text(collation="C"),
        comment="while BUILDING: the entries of live records up to this record_id exist; NULL: none yet",
    ),
    Column(
        "draft_filled_to",
        Text(collation="C"),
        comment="while BUILDING: the entries of all live records, and of drafts of records up to this record_id, "
        "exist; NULL: not all of the records yet",
    ),
    Column(
        "record_count",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="records that the background job has read so far",
    ),
    Column(
        "draft_count",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="drafts that the background job has read so far",
    ),
    time_column("created_at"),
    time_column("ready_at", nullable=True),
    Column("dropped_at", DateTime(timezone=True), comment="when the collection spec stopped declaring it"),
    Column(
        "record_total",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="records that existed when the build began; 0: not counted",
    ),
    Column(
        "log_xact",
        BigInteger,
        comment="the log horizon when the order was declared: a record with a lower log_xact has not changed since; "
        "NULL: unknown, the build must lock the records",
    ),
    Column(
        "begun_to",
        Text(collation="C"),
        comment="entries of records up to this record_id may have been added without locking the records, and are to "
        "be verified; NULL: none",
    ),
    Index(
        "collection_order_unready_idx",
        "tenant_id",
        "collection",
        "order_id",
        postgresql_where=text("state <> 'READY'"),
    ),
    comment="The orders of collections that are kept as entries.",
)

order_entry = Table(
    "order_entry",
    metadata,
    key_column("tenant_id"),
    key_column("collection"),
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "key",
        LargeBinary,
        primary_key=True,
        comment="draftline.order_key() of the content and the order's keys; of a relation an id, in UTF-8",
    ),
    key_column("record_id"),
    comment="One row for each live record and each order of its collection, unless it is too long for "
    "order_entry_fits(); of a relation one for each id.",
)

draft_order_entry = Table(
    "draft_order_entry",
    metadata,
    key_column("tenant_id"),
    key_column("user_id"),
    key_column("collection"),
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "key",
        LargeBinary,
        primary_key=True,
        comment="draftline.order_key() of the merged content and the order's keys; of a relation an id, in UTF-8",
    ),
    key_column("record_id"),
    comment="One row for each draft and each order of its collection, unless it is too long for order_entry_fits(); "
    "of a relation one for each id.",
)
