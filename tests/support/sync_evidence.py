"""Files with all that happened to the records of a run, to prove each problem that it reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncpg

from support.recorded_upstream import LocalWrites, LoggedValue, RecordedSystem, trace

TABLES = ("change", "record", "sync_record", "sync_event", "sync_upstream", "sync_collection")


class Evidence:
    """The files of one run: logs of processes, and of each tenant what both sides stored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep_problems(
        self, name: str, found: Sequence[str], system: RecordedSystem, writes: LocalWrites, log: list[LoggedValue]
    ) -> None:
        """Write each problem, and the history of every record that one of them names."""
        named = {word.strip("(',") for problem in found for word in problem.split()}
        named |= {record_id for record_id, family in writes.families.items() if family in named}
        known = {entry.record_id for entry in log} | {each.record_id for each in system.history}
        traces = [trace(system, log, record_id) for record_id in sorted(named & known)]
        (self.folder / f"{name}.problems.txt").write_text("\n".join([*found, "", *traces]) + "\n")

    def keep_system(self, name: str, system: RecordedSystem, writes: LocalWrites) -> None:
        """Write what the system applied and rejected, and what users wrote."""
        self._keep(f"{name}.applied", map(asdict, system.history))
        self._keep(f"{name}.rejected", map(asdict, system.rejected))
        self._keep(
            f"{name}.written",
            (
                {"record_id": record_id, "name": field, "value": value, "version": version}
                for (record_id, field), values in writes.order.items()
                for value, version in values.items()
            ),
        )
        sets = ("unknown", "deleted", "created", "decided", "replaced")
        self._keep(f"{name}.exempt", ({each: sorted(getattr(writes, each))} for each in sets))

    async def keep_tables(self, database_url: str) -> None:
        """Write all rows of the tables that a sync reads and writes."""
        connection = await asyncpg.connect(database_url)
        try:
            for table in TABLES:
                query = f"SELECT row_to_json(t)::text FROM draftline.{table} AS t"
                with (self.folder / f"{table}.jsonl").open("w") as file:
                    async with connection.transaction():
                        async for row in connection.cursor(query, prefetch=5_000):
                            file.write(row[0] + "\n")
        finally:
            await connection.close()

    def _keep(self, name: str, rows: Iterable[Any]) -> None:
        with (self.folder / f"{name}.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
