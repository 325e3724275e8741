"""The table of the secrets that all processes share."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from .metadata import metadata

secret = Table(
    "secret",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    comment="Secrets that all processes of this database share, such as the key of page tokens.",
)
