"""Imports: a stream of records through COPY into a staging table, then one set-based upsert.

All of it is one transaction: a stream that breaks leaves nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import structlog

from ..domain.content import Limits
from ..domain.definitions import Definition
from ..domain.errors import (
    ContentionError,
    DuplicateRecordError,
    EmptySnapshotError,
    IndexedTextTooLongError,
    OverloadedError,
)
from ..domain.records import Actor, ImportCounts, ImportMode, NewRecord
from .content import limit_values, now
from .definitions import CheckedDefinition, Definitions
from .engine import Database
from .statements import load
from .transaction import Transaction

SQL = load("imports")
MANY = 1_000  # changed records, from which on the planner is told
COLUMNS = ("record_id", "content", "parent_id", "position")


class ImportStore:
    """Loads many records at once."""

    def __init__(self, database: Database, definitions: Definitions, limits: Limits, most: int = 8) -> None:
        self._database = database
        self._definitions = definitions
        self._limits = limits
        self._most = most
        self._running = 0

    async def load(
        self,
        actor: Actor,
        collection: str,
        chunks: AsyncIterator[Sequence[NewRecord]],
        mode: ImportMode,
        *,
        allow_empty: bool,
    ) -> ImportCounts:
        """Creates, replaces and, for a snapshot, deletes. Nothing is kept unless the whole stream came.

        OverloadedError while as many imports run as may run at once.
        """
        if self._running >= self._most:
            raise OverloadedError(f"{self._running} imports are running already; try again later")
        self._running += 1
        try:
            return await self._load(actor, collection, chunks, mode, allow_empty=allow_empty)
        finally:
            self._running -= 1

    async def _load(
        self,
        actor: Actor,
        collection: str,
        chunks: AsyncIterator[Sequence[NewRecord]],
        mode: ImportMode,
        *,
        allow_empty: bool,
    ) -> ImportCounts:
        await self._definitions.load(actor.tenant_id, [collection])
        checked = self._definitions.known(actor.tenant_id, collection)

        async def work() -> ImportCounts:
            async with self._database.transaction(long=True) as transaction:
                await transaction.fetch(SQL["create_staging"], {})
                await transaction.copy("staging", COLUMNS, _rows(chunks, checked))
                await transaction.fetch(SQL["analyze_staging"], {})
                staged = (await transaction.fetch(SQL["count_staging"], {}))[0]["staged"]
                if not staged and mode is ImportMode.SNAPSHOT and not allow_empty:
                    raise EmptySnapshotError("a snapshot without a record would delete the whole collection")
                await self._check(transaction, actor, checked.definition)
                return await transaction.retry_part(lambda: self._apply(transaction, actor, collection, mode, staged))

        counts = await self._database.translated(work)
        if counts.inserted + counts.updated + counts.deleted >= MANY:
            await self._analyze()
        return counts

    async def _analyze(self) -> None:
        """Best effort: the import is kept, and PostgreSQL does it by itself within a minute or so."""
        try:
            await self._database.fetch(SQL["analyze_records"], {})
        except Exception as error:
            structlog.get_logger().warning("records_not_analyzed", reason=type(error).__name__)

    async def _check(self, transaction: Transaction, actor: Actor, definition: Definition) -> None:
        identity: dict[str, object] = {"tenant_id": actor.tenant_id, "collection": definition.collection}
        held = await transaction.fetch(SQL["hold_definition"], identity)
        if (held[0]["version"] if held else 0) != definition.version:
            raise ContentionError(
                "the collection's declaration changed during the import; nothing was written, try again"
            )
        for row in await transaction.fetch(SQL["duplicate_in_staging"], {}):
            record_id = row["record_id"]
            raise DuplicateRecordError(f"record {record_id!r} stands twice in the import", record_id=record_id)
        for row in await transaction.fetch(SQL["overlong_in_staging"], {**identity, **limit_values(self._limits)}):
            limit = self._limits.max_indexed_text_bytes
            problem = f"the text at {row['path']} is indexed and must be at most {limit} bytes"
            raise IndexedTextTooLongError(
                f"record {row['record_id']!r}: {problem}", path=row["path"], limit=limit, record_id=row["record_id"]
            )

    async def _apply(
        self, transaction: Transaction, actor: Actor, collection: str, mode: ImportMode, staged: int
    ) -> ImportCounts:
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id,
            "collection": collection,
            "user_id": actor.user_id,
            "now": now(),
        }
        await transaction.fetch(SQL["lock_snapshot" if mode is ImportMode.SNAPSHOT else "lock_imported"], values)
        upserted = (await transaction.fetch(SQL["upsert_imported"], values))[0]
        await transaction.fetch(SQL["refresh_imported"], values)
        deleted = 0
        if mode is ImportMode.SNAPSHOT:
            deleted = (await transaction.fetch(SQL["delete_unlisted"], values))[0]["deleted"]
        inserted, updated = upserted["inserted"], upserted["updated"]
        return ImportCounts(inserted, updated, staged - inserted - updated, deleted)


async def _rows(
    chunks: AsyncIterator[Sequence[NewRecord]], checked: CheckedDefinition
) -> AsyncIterator[tuple[str, str, str | None, int | None]]:
    async for chunk in chunks:
        for record in chunk:
            if checked.validator is not None:
                checked.check(record.content, f"record {record.record_id!r}")
            yield record.record_id, record.content, record.parent_id, record.position
