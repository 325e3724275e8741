"""Compare the result of the migrations with the tables that the code declares, in both layouts."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from ..embedded_postgres.server import EmbeddedPostgres
from ..ops import migrate
from .conversion import partition_if_empty
from .mode import Mode


def check_in_scratch(binaries: Path | None) -> dict[Mode, list[object]]:
    """Migrate an empty database, and return its differences from `store/tables/` in each layout."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "pg", durable=False, binaries=binaries) as postgres,
    ):
        migrate.upgrade(postgres.url)
        found = {Mode.PLAIN: migrate.differences(postgres.url)}
        asyncio.run(partition_if_empty(postgres.url))
        return {**found, Mode.PARTITIONED: migrate.differences(postgres.url)}
