"""Copy the rows of the plain tables, in batches, while triggers keep the copies in sync.

A row that a trigger has written already is left. The rows of a batch are locked against deletion, because the trigger
of a deletion would not find a row that is being copied, which would then come back.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from ..store.time_limits import connect_unlimited
from .definitions import LayoutError
from .layout import qualified
from .pace import Pace
from .session import CONNECT_S, LOCK_MS, Session
from .switch_state import COPIED_ALL, State, fetch
from .sync_triggers import Sync, unmatched

Progress = Callable[[str, int, int | None], None]
"""The table, how many of its rows are copied or compared, and of how many, if that is known."""
RETRIES = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
UNMATCHED_ROWS = 1_000


def no_progress(_table: str, _rows: int, _of: int | None) -> None:
    """Report nothing."""


@dataclass(slots=True)
class KeyedCopy:
    """The copy of a table with a primary key, in the order of the key.

    Its index position is stored with each batch, unless `is_stored` is False: then an interrupted copy is lost.
    """

    session: Session
    sync: Sync
    types: dict[str, str]  # of columns, by their names
    pace: Pace
    progress: Progress
    is_stored: bool = True

    async def run(self, state: State) -> None:
        name = self.sync.definition.name
        connection = self.session.connection
        position, copied = state.positions.get(name), state.copied.get(name, 0)
        while position != COPIED_ALL:
            start, before = time.perf_counter(), (position, copied)
            try:
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}; SET LOCAL synchronous_commit = off")
                    position, rows = await self._batch(position)
                    copied += rows
                    await self._store(name, position, copied)
            except RETRIES:
                self.pace.locked()
                state.positions.pop(name, None)
                position, copied = await self._stored() if self.is_stored else before
                await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311
                continue
            self.progress(name, copied, copied if position == COPIED_ALL else None)
            await self.pace.after(rows, time.perf_counter() - start)
        state.positions[name], state.copied[name] = COPIED_ALL, copied

    async def _store(self, name: str, position: Any, copied: int) -> None:
        if self.is_stored:
            connection = self.session.connection
            await fetch(connection, "put_position", name=name, position=json.dumps(position), copied=copied)

    async def _stored(self) -> tuple[Any, int]:
        (row,) = await fetch(self.session.connection, "state")
        name = self.sync.definition.name
        return json.loads(row["positions"]).get(name), json.loads(row["copied"]).get(name, 0)

    async def _batch(self, position: list[str] | None) -> tuple[Any, int]:
        """Copy the next rows. Return the new position and how many rows there were."""
        connection = self.session.connection
        after = position or []
        last = await connection.fetch(self.statements(bool(position))[0], *after, self.pace.rows)
        if not last:
            return COPIED_ALL, 0
        to = [last[0][f"k{number}"] for number in range(len(self.sync.key))]
        await connection.execute(self.statements(bool(position))[1], *after, *to)
        return to, last[0]["n"]

    def statements(self, begun: bool) -> tuple[str, str]:
        """Return the statements that find the last key of a batch, and that copy the rows up to it."""
        key, columns = ", ".join(self.sync.key), ", ".join(self.sync.columns)
        source, size = qualified(self.sync.copied), len(self.sync.key)
        after = f"WHERE ({key}) > ({self._values(1)})" if begun else ""
        texts = ", ".join(f"b.{column}::text AS k{number}" for number, column in enumerate(self.sync.key))
        down = ", ".join(f"b.{column} DESC" for column in self.sync.key)
        find = (
            f"SELECT {texts}, count(*) OVER () AS n FROM (SELECT {key} FROM {source} {after} ORDER BY {key} "
            f"LIMIT ${size * begun + 1}::bigint) AS b ORDER BY {down} LIMIT 1"
        )
        within = f"{after} {'AND' if begun else 'WHERE'} ({key}) <= ({self._values(size * begun + 1)})"
        copy = (
            f"WITH rows AS MATERIALIZED (SELECT {columns} FROM {source} {within} ORDER BY {key} FOR KEY SHARE) "
            f"INSERT INTO {qualified(self.sync.target)} ({columns}) SELECT {columns} FROM rows ORDER BY {key} "
            f"ON CONFLICT ({key}) DO NOTHING"
        )
        return find, copy

    def _values(self, first: int) -> str:
        """Return placeholders for the key, which is passed as texts."""
        return ", ".join(
            f"${first + number}::text::{self.types[column]}" for number, column in enumerate(self.sync.definition.key)
        )


@dataclass(slots=True)
class SnapshotCopy:
    """The copy of a table without a primary key: exactly the rows of one snapshot, in the order of their pages.

    The snapshot is taken under a lock that excludes writes, when the copy is empty and the triggers are there. So every
    row is either in the snapshot or written by the triggers. A copy that was interrupted begins again.
    """

    session: Session
    sync: Sync
    pace: Pace
    progress: Progress
    is_stored: bool = True

    async def run(self, state: State) -> None:
        name = self.sync.definition.name
        if state.positions.get(name) == COPIED_ALL:
            return
        holder = await connect_unlimited(self.session.url, CONNECT_S)
        try:
            snapshot, filenode, blocks = await self._begin(holder)
            copied = 0
            for first, last in self._ranges(blocks):
                start = time.perf_counter()
                rows = await self._batch(snapshot, filenode, first, last)
                copied += rows
                self.progress(name, copied, None)
                await self.pace.after(rows, time.perf_counter() - start)
        finally:
            await holder.close(timeout=CONNECT_S)
        await self._match()
        self.progress(name, copied, copied)
        if self.is_stored:
            stored = json.dumps(COPIED_ALL)
            await fetch(self.session.connection, "put_position", name=name, position=stored, copied=copied)
        state.positions[name], state.copied[name] = COPIED_ALL, copied

    async def _begin(self, holder: Any) -> tuple[str, int, int]:
        """Empty the copy and take a snapshot. Return it with the table's file and pages."""
        table, spare = qualified(self.sync.target), qualified(unmatched(self.sync.definition))
        locked = f"LOCK TABLE {qualified(self.sync.copied)} IN SHARE ROW EXCLUSIVE MODE"
        connection = self.session.connection
        for attempt in range(1, self.session.attempts + 1):
            try:
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}; {locked}; TRUNCATE {table}, {spare}")
                    (size,) = await fetch(connection, "blocks", name=self.sync.copied)
                    await holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    snapshot = await holder.fetchval("SELECT pg_export_snapshot()")
                return snapshot, size["filenode"], size["blocks"]
            except RETRIES:
                await holder.execute("ROLLBACK")
                if attempt == self.session.attempts:
                    raise
                await asyncio.sleep(random.uniform(0, 0.2))  # noqa: S311
        raise AssertionError("unreachable")

    def _ranges(self, blocks: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of pages, of about as many rows as the pace allows."""
        first = 0
        while first < blocks:
            last = min(blocks, first + max(1, self.pace.rows // 50))
            yield first, last
            first = last

    async def _batch(self, snapshot: str, filenode: int, first: int, last: int) -> int:
        columns, connection = ", ".join(self.sync.columns), self.session.connection
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            (size,) = await fetch(connection, "blocks", name=self.sync.copied)
            if size["filenode"] != filenode:
                raise LayoutError(
                    f"draftline.{self.sync.copied} was rewritten while it was copied", "run the command again"
                )
            done = await connection.execute(
                f"INSERT INTO {qualified(self.sync.target)} ({columns}) SELECT {columns} "
                f"FROM ONLY {qualified(self.sync.copied)} WHERE ctid >= '({first},0)' AND ctid < '({last},0)'"
            )
        return int(done.split()[-1])

    async def _match(self) -> None:
        """Remove from the copy what was deleted before it was copied."""
        spare, connection = qualified(unmatched(self.sync.definition)), self.session.connection
        for _ in range(self.session.attempts * 1_000):
            try:
                async with connection.transaction():
                    await connection.execute(
                        f"SET LOCAL lock_timeout = {LOCK_MS}; "
                        f"LOCK TABLE {qualified(self.sync.copied)} IN SHARE ROW EXCLUSIVE MODE"
                    )
                    before = await connection.fetchval(f"SELECT count(*) FROM {spare}")
                    await connection.execute(
                        f"DELETE FROM {spare} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {spare} LIMIT {UNMATCHED_ROWS}))"
                    )
                    left = await connection.fetchval(f"SELECT count(*) FROM {spare}")
            except RETRIES:
                await asyncio.sleep(random.uniform(0, 0.2))  # noqa: S311
                continue
            if not left:
                return
            if left == before:
                raise LayoutError(
                    f"{left:,} deleted rows of draftline.{self.sync.copied} are not in its copy",
                    "run `draftline partitions cleanup`, and begin again",
                )
            await asyncio.sleep(0.02)
        raise LayoutError(f"draftline.{self.sync.copied} is written all the time", "run the command again")
