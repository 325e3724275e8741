"""The mode of a database: plain or partitioned tables, as the catalogue says."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from ..store.schema_problems import NOT_MIGRATED
from .definitions import LayoutError, fetch
from .layout import TABLES


class Mode(StrEnum):
    """`MIXED`: some tables are partitioned and others are not, which no command of this version leaves behind."""

    PLAIN = "plain"
    PARTITIONED = "partitioned"
    MIXED = "mixed"


async def table_modes(connection: Any) -> dict[str, Mode]:
    """Return the mode of each table of the layout that exists."""
    rows = await fetch(connection, "table_kinds", names=list(TABLES))
    return {row["name"]: Mode.PARTITIONED if row["kind"] == "p" else Mode.PLAIN for row in rows}


async def read_mode(connection: Any) -> Mode:
    """Return the mode of the database. Raise LayoutError if it was never migrated."""
    modes = set((await table_modes(connection)).values())
    if not modes:
        raise LayoutError(NOT_MIGRATED)
    return modes.pop() if len(modes) == 1 else Mode.MIXED
