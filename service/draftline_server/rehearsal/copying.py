"""Copy the schema and its rows into another database, as they are in one snapshot.

Only the connections are used: neither pg_dump nor its files are needed. The statements that create the objects are read
from the catalogue, so that a schema that was changed by hand is copied with its changes. `copy_schema` compares the
objects of both and refuses a schema with objects that it cannot copy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import asyncpg

from .progress import Progress
from .schema import compare, read_objects
from .sessions import RehearsalError, fetch, fetch_row, literal, quoted

QUEUE = 8  # blocks of rows in memory
MIB = 2**20
PROGRESS_S = 0.5


@dataclass(frozen=True, slots=True)
class CopyResult:
    """The seconds that a copy took, its rows, and the definitions of its objects."""

    seconds: float
    rows: int
    objects: dict[str, str]


async def copy_schema(source: Any, target: Any, progress: Progress) -> CopyResult:
    """Copy the schema from `source`, in a transaction with one snapshot, to `target`, which does not have it."""
    start = time.monotonic()
    relations = await fetch(source, "relations")
    for relation in relations:  # so that nothing is altered or dropped before its rows are copied
        await source.execute(f"LOCK TABLE ONLY draftline.{quoted(relation['name'])} IN ACCESS SHARE MODE")
    objects = await read_objects(source)
    definitions = await fetch(source, "definitions")
    await _create(target, (row for row in definitions if not row["after_rows"]))
    rows = await _copy_rows(source, target, [row["name"] for row in relations if not row["is_partitioned"]], progress)
    await _copy_sequences(source, target)
    progress.step("building the indexes of the copy")
    await _create(target, (row for row in definitions if row["after_rows"]))
    progress.step("analyzing the copy")
    await target.execute("ANALYZE")
    differences = compare(await read_objects(target), objects)
    if differences:
        raise RehearsalError(
            f"the schema cannot be copied as it is: in the copy, {'; '.join(differences[:5])}. Drop what is not part "
            "of Draftline, or rehearse on a database that pg_dump and pg_restore have copied"
        )
    return CopyResult(time.monotonic() - start, rows, objects)


async def _create(target: Any, definitions: Iterable[Any]) -> None:
    """Run the statements by phase; those that fail run again after the others of their phase."""
    async with target.transaction():
        await target.execute("SET LOCAL check_function_bodies = off")
        for _, group in groupby(definitions, key=lambda row: row["phase"]):
            waiting = [row["statement"] for row in group]
            while waiting:
                failed, error = await _run(target, waiting)
                if error is not None and len(failed) == len(waiting):
                    raise RehearsalError(f"the schema cannot be copied: {error} ({failed[0][:200]})") from error
                waiting = failed


async def _run(target: Any, statements: Sequence[str]) -> tuple[list[str], asyncpg.PostgresError | None]:
    """Run statements, each in a savepoint. Return those that failed, and the last error."""
    failed: list[str] = []
    last = None
    for statement in statements:
        try:
            async with target.transaction():
                await target.execute(statement)
        except asyncpg.PostgresError as error:
            failed.append(statement)
            last = error
    return failed, last


async def _copy_rows(source: Any, target: Any, tables: Sequence[str], progress: Progress) -> int:
    columns = {row["name"]: list(row["columns"] or ()) for row in await fetch(source, "columns")}
    total = (await fetch_row(source, "tables_size"))["bytes"]
    count = copied = 0
    for table in tables:
        if not columns.get(table):
            continue
        stream = _Stream(source, target, table, columns[table])

        def show(done: int, name: str = table, before: int = copied) -> None:
            progress.step(
                f"copying {name}: {(before + done) / MIB:,.0f} MiB, of about {total / MIB:,.0f} MiB with indexes"
            )

        count += await stream.copy(show)
        copied += stream.bytes
    return count


class _Stream:
    """The rows of one table, which one connection reads while the other writes."""

    def __init__(self, source: Any, target: Any, table: str, columns: list[str]) -> None:
        self._source, self._target, self._table, self._columns = source, target, table, columns
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE)
        self.bytes = 0

    async def copy(self, show: Callable[[int], None]) -> int:
        """Copy the rows, and return their number."""
        reading = asyncio.ensure_future(self._read(show))
        writing = asyncio.ensure_future(self._write())
        try:
            await asyncio.gather(reading, writing)
        finally:
            for task in (reading, writing):
                task.cancel()
                with suppress(asyncio.CancelledError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await task
        if reading.result() != writing.result():
            raise RehearsalError(f"{self._table}: {reading.result()} were read, but {writing.result()} written")
        return int(reading.result().rpartition(" ")[2])

    async def _read(self, show: Callable[[int], None]) -> str:
        shown = time.monotonic()

        async def put(block: bytes) -> None:
            nonlocal shown
            self.bytes += len(block)
            if time.monotonic() - shown > PROGRESS_S:
                show(self.bytes)
                shown = time.monotonic()
            await self._queue.put(block)

        names = ", ".join(map(quoted, self._columns))
        query = f"SELECT {names} FROM ONLY draftline.{quoted(self._table)}"  # noqa: S608  (quoted names of the catalogue)
        done: str = await self._source.copy_from_query(query, output=put)
        await self._queue.put(None)
        return done

    async def _write(self) -> str:
        done: str = await self._target.copy_to_table(
            self._table, source=self._blocks(), columns=self._columns, schema_name="draftline"
        )
        return done

    async def _blocks(self) -> AsyncIterator[bytes]:
        while (block := await self._queue.get()) is not None:
            yield block


async def _copy_sequences(source: Any, target: Any) -> None:
    for row in await fetch(source, "sequences"):
        found = await source.fetchrow(f"SELECT last_value, is_called FROM {row['name']}")  # noqa: S608  (a quoted name)
        await target.execute(
            f"SELECT setval({literal(row['name'])}, {found['last_value']}, {str(found['is_called']).lower()})"
        )
