"""The table of the stored responses of requests."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table
from sqlalchemy.dialects.postgresql import JSONB, UUID

from .metadata import key_column, metadata, time_column

request = Table(
    "request",
    metadata,
    key_column("tenant_id"),
    key_column("user_id"),
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
    time_column("created_at"),
    Column(
        "version",
        BigInteger,
        comment="for a call on one record, the version that was returned: the rest is rebuilt from the record and "
        "the log",
    ),
    Index("request_created_idx", "created_at"),
    comment="The stored responses of requests with an id, written in the transaction of the request.",
)
