"""The schema of the tables, and the columns that many of them have."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData, Text

SCHEMA = "draftline"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={"pk": "%(table_name)s_pkey", "ck": "%(table_name)s_%(constraint_name)s_check"},
)


def key_column(name: str) -> Column[str]:
    return Column(name, Text(collation="C"), primary_key=True)


def time_column(name: str, *, nullable: bool = False, comment: str | None = None) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, comment=comment)
