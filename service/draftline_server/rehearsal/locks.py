"""Sample the locks that a migration holds on tables, how long it holds them, and the size of the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .sessions import fetch, fetch_row

INTERVAL_S = 0.02
SIZE_S = 1.0
BLOCKS: Mapping[str, str] = {
    "AccessExclusiveLock": "reads and writes",
    "ExclusiveLock": "writes",
    "ShareRowExclusiveLock": "writes",
    "ShareLock": "writes",
    "RowExclusiveLock": "writes of the same rows",
    "RowShareLock": "writes of the same rows",
}


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock mode on a table, the longest time that a transaction held it, and what it blocks meanwhile.

    `statement` is the one that ran for most of this time.
    """

    table: str
    mode: str
    blocks: str
    longest_s: float
    rows: int
    statement: str = ""


class Sampler:
    """Samples the locks on tables that exist before the migration, and the size of the database."""

    def __init__(self, connection: Any, tables: Mapping[int, str]) -> None:
        self._connection = connection
        self._tables = tables
        self._since: dict[tuple[int, str, str], float] = {}  # by table, mode and transaction
        self._spent: dict[tuple[int, str, str], dict[str, float]] = {}  # the same, then by statement
        self._longest: dict[tuple[int, str], tuple[float, str]] = {}
        self._sampled_at = time.monotonic()
        self._stopped = asyncio.Event()
        self.size_peak = 0

    async def run(self) -> None:
        """Sample until `stop` is called, and once more then."""
        size_read = -SIZE_S
        while True:
            is_last = self._stopped.is_set()
            await self._sample()
            if time.monotonic() - size_read > SIZE_S or is_last:
                self.size_peak = max(self.size_peak, (await fetch_row(self._connection, "database_size"))["bytes"])
                size_read = time.monotonic()
            if is_last:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), INTERVAL_S)

    def stop(self) -> None:
        self._stopped.set()

    async def _sample(self) -> None:
        """Read the locks once. A lock that is not held any more was held until now."""
        rows = await fetch(self._connection, "locks", tables=list(self._tables))
        now = time.monotonic()
        held = {(row["oid"], row["mode"], row["transaction"]): row["statement"] for row in rows}
        for key in self._since.keys() | held.keys():
            start, spent = self._since.setdefault(key, now), self._spent.setdefault(key, {})
            if statement := held.get(key):
                spent[statement] = spent.get(statement, 0.0) + now - max(start, self._sampled_at)
            longest_s, _ = self._longest.get(key[:2], (-1.0, ""))
            if now - start > longest_s:
                self._longest[key[:2]] = now - start, max(spent, key=spent.__getitem__, default="")
        self._since = {key: start for key, start in self._since.items() if key in held}
        self._spent = {key: spent for key, spent in self._spent.items() if key in held}
        self._sampled_at = now

    def held(self, rows: Mapping[str, int]) -> list[HeldLock]:
        """Return the locks, the longest first. `rows` are the numbers of rows by table."""
        found = [
            HeldLock(
                self._tables[oid], mode, BLOCKS[mode], round(seconds, 3), rows.get(self._tables[oid], 0), statement
            )
            for (oid, mode), (seconds, statement) in self._longest.items()
        ]
        return sorted(found, key=lambda lock: (-lock.longest_s, lock.table, lock.mode))


def lock_problems(locks: list[HeldLock], limit_s: float, changed_rows: Mapping[str, int]) -> list[str]:
    """Return sentences about locks on tables with rows that were held longer than the limit.

    A lock of rows counts if the migration has updated or deleted rows of the table.
    """
    return [
        f"{each.table} is locked for {each.longest_s:.3g} s, which blocks {each.blocks} ({each.mode}); the limit is "
        f"{limit_s:g} s; most of that time in: {each.statement}"
        for each in locks
        if each.longest_s > limit_s
        and each.rows
        and (not each.blocks.endswith("rows") or (each.mode == "RowExclusiveLock" and changed_rows.get(each.table)))
    ]
