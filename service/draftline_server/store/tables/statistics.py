"""The tables of statistics, and of the tallies that they are read from."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Numeric,
    Sequence,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from .metadata import key_column, metadata, time_column

statistic = Table(
    "statistic",
    metadata,
    key_column("tenant_id"),
    key_column("collection"),
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
    time_column("created_at"),
    time_column("ready_at", nullable=True),
    Column("folded_at", DateTime(timezone=True), comment="when its tally was folded last"),
    Column(
        "folded_before",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="the rows that transactions before this log position appended to its tally are folded, but those of "
        "unfolded_xacts",
    ),
    Column(
        "unfolded_xacts",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{}'"),
        comment="the log positions before folded_before of the transactions that were running at the last fold",
    ),
    comment="The statistics that collections declare.",
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
    Column(
        "log_xact",
        BigInteger,
        nullable=False,
        server_default=text("draftline.log_xact()"),
        comment="the log position of the transaction that appended the row; see statistic.folded_before",
    ),
    Index(
        "tally_idx",
        "tenant_id",
        "statistic_id",
        "is_folded",
        "user_id",
        # With the line breaks of PostgreSQL, because the text is compared with that of the database.
        text("\nCASE\n    WHEN is_folded THEN '0'::bigint\n    ELSE log_xact\nEND"),
        "k1",
    ),
    comment="Contributions to the groups of statistics. A sum of rows is exact; see fold_tally.",
)
