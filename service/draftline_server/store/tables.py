"""The tables, declared once: request-shaped queries are built from them, and the
migrations are compared with them. All are in the schema `draftline`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    Sequence,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

SCHEMA = "draftline"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={"pk": "%(table_name)s_pkey", "ck": "%(table_name)s_%(constraint_name)s_check"},
)


def key_column(name: str) -> Column[str]:
    return Column(name, Text(collation="C"), primary_key=True)


def time_column(name: str, *, nullable: bool = False, comment: str | None = None) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, comment=comment)


_key, _time = key_column, time_column


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

collection = Table(
    "collection",
    metadata,
    _key("tenant_id"),
    _key("collection"),
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
    _time("created_at"),
    _time("updated_at"),
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

draft = Table(
    "draft",
    metadata,
    _key("tenant_id"),
    _key("user_id"),
    _key("collection"),
    _key("record_id"),
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
    _time("created_at"),
    _time("updated_at"),
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

collection_order = Table(
    "collection_order",
    metadata,
    _key("tenant_id"),
    _key("collection"),
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
    _time("created_at"),
    _time("ready_at", nullable=True),
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
    _key("tenant_id"),
    _key("collection"),
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "key",
        LargeBinary,
        primary_key=True,
        comment="draftline.order_key() of the content and the order's keys; of a relation an id, in UTF-8",
    ),
    _key("record_id"),
    comment="One row for each live record and each order of its collection, unless it is too long for "
    "order_entry_fits(); of a relation one for each id.",
)

draft_order_entry = Table(
    "draft_order_entry",
    metadata,
    _key("tenant_id"),
    _key("user_id"),
    _key("collection"),
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "key",
        LargeBinary,
        primary_key=True,
        comment="draftline.order_key() of the merged content and the order's keys; of a relation an id, in UTF-8",
    ),
    _key("record_id"),
    comment="One row for each draft and each order of its collection, unless it is too long for order_entry_fits(); "
    "of a relation one for each id.",
)

secret = Table(
    "secret",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    comment="Secrets that all processes of this database share, such as the key of page tokens.",
)

change = Table(
    "change",
    metadata,
    _key("tenant_id"),
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

request = Table(
    "request",
    metadata,
    _key("tenant_id"),
    _key("user_id"),
    Column("request_id", UUID(as_uuid=False), primary_key=True),
    Column(
        "fingerprint",
        LargeBinary,
        nullable=False,
        comment="a hash of the request, which detects another request with the same id",
    ),
    Column("response", LargeBinary, comment="the response as it was sent"),
    Column(
        "answer",
        JSONB,
        comment="instead of the response: the record that was returned, or those parts of it that the log does not "
        "hold; or what an unfinished call has written so far",
    ),
    _time("created_at"),
    Column(
        "version",
        BigInteger,
        comment="for a call on one record, the version that was returned: the rest is rebuilt from the record and "
        "the log",
    ),
    Index("request_created_idx", "created_at"),
    comment="The stored responses of requests with an id, written in the transaction of the request.",
)

statistic = Table(
    "statistic",
    metadata,
    _key("tenant_id"),
    _key("collection"),
    Column(
        "statistic_id",
        BigInteger,
        Sequence("statistic_id", metadata=metadata),
        primary_key=True,
        server_default=text("nextval('draftline.statistic_id')"),
        comment="never reused, not even after the statistic is dropped",
    ),
    Column("name", Text(collation="C"), nullable=False),
    Column("spec", JSONB, nullable=False, comment="the entry of draftline.collection.statistics"),
    Column("fields", ARRAY(Text), nullable=False, comment="the top-level fields of the content that it reads"),
    Column("k1_path", ARRAY(Text), nullable=False),
    Column(
        "k1_type",
        Text,
        nullable=False,
        comment="TEXT, NUMBER, BOOLEAN, DATE, MONTH or YEAR; NUMBER_RANGE or DATE_RANGE: its groups are nodes, see "
        "group_nodes",
    ),
    Column("k2_path", ARRAY(Text)),
    Column("k2_type", Text),
    Column("k3_path", ARRAY(Text)),
    Column("k3_type", Text),
    *(Column(f"m{number}_path", ARRAY(Text)) for number in range(1, 5)),
    Column(
        "state",
        Text,
        CheckConstraint("state IN ('BUILDING', 'READY', 'INVALID', 'DROPPING')", name="state"),
        nullable=False,
        server_default=text("'BUILDING'"),
        comment="BUILDING: writes append to its tally, and it is to be built; READY: its tally is complete; "
        "INVALID: it has too many groups, and no tally; DROPPING: no longer declared, its tally is to be deleted",
    ),
    Column(
        "group_count",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="groups of the baseline when it was built, without those of a range",
    ),
    _time("created_at"),
    _time("ready_at", nullable=True),
    Column("folded_at", DateTime(timezone=True), comment="when its tally was folded last"),
    comment="The statistics that collections declare.",
)

tenant_usage = Table(
    "tenant_usage",
    metadata,
    _key("tenant_id"),
    Column("collections", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False, comment="including deleted ones that are not purged"),
    Column("bytes", BigInteger, nullable=False, comment="of the contents of records, as stored, after compression"),
    Column("drafts", BigInteger, nullable=False),
    _time("counted_at"),
    comment="The use of each tenant at its last count.",
)

tally = Table(
    "tally",
    metadata,
    Column("tenant_id", Text(collation="C"), nullable=False),
    Column("statistic_id", BigInteger, nullable=False),
    Column(
        "user_id",
        Text(collation="C"),
        nullable=False,
        comment="empty: the baseline; a user: what that user's drafts add to it",
    ),
    *(Column(f"k{number}", Text(collation="C")) for number in range(1, 4)),
    Column("records", BigInteger, nullable=False, comment="records, less those that no longer belong to the group"),
    Column("c1", BigInteger, comment="how many of them have a number as the first measure"),
    Column("s1", Numeric, comment="the sum of these numbers"),
    *(column for number in range(2, 5) for column in (Column(f"c{number}", BigInteger), Column(f"s{number}", Numeric))),
    Column(
        "is_folded",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="false: appended by a write, until the next fold; true: the sum of a group, or of a node of a range "
        "(group_nodes)",
    ),
    Index("tally_idx", "tenant_id", "statistic_id", "is_folded", "user_id", "k1"),
    comment="Contributions to the groups of statistics. A sum of rows is exact; see fold_tally.",
)
