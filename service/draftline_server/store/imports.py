"""Imports: COPY a stream of records into a temporary staging table, then run one set-based upsert.

The records are written in one transaction once the whole stream has arrived: a broken stream writes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import TypeAlias

import asyncpg
import uuid_utils

from ..concurrency.fair_semaphore import FairSemaphore
from ..domain.changes import ChangeSource, Write
from ..domain.collections import CollectionSpec
from ..domain.content import Limits
from ..domain.errors import (
    CollectionBoundError,
    ContentionError,
    DuplicateRecordError,
    EmptySnapshotError,
    OverloadedError,
)
from ..domain.records import Actor, ImportCounts, ImportedRecord, ImportMode, KeysOf
from .advisory_locks import LockFamily
from .collections.cache import CollectionSpecs, order_of
from .collections.content_keys import ContentKeys
from .database import Database
from .driver_errors import RacedError
from .record_errors import error_of, record_field
from .record_rows import limit_values
from .relations.imported_references import ImportedReferences
from .retries import raise_translated
from .statements import load
from .transaction import DedicatedConnection, Transaction

SQL = load("imports")
RESERVED_SHARE = 4  # one in so many concurrent imports is reserved for tenants that run none
MANY = 1_000  # changed records from which on the planner's statistics are refreshed
COLUMNS = ("record_id", "content", "parent_id", "position", "index", "source", "keys")

Chunks: TypeAlias = AsyncIterator[Sequence[ImportedRecord]]


async def analyze_records(connection: DedicatedConnection, tenant_ids: Collection[str]) -> None:
    """Refresh the planner's statistics of the records of some tenants, and of others that share a table with them."""
    for row in await connection.fetch(SQL["analyzed_tables"], {"tenant_ids": list(tenant_ids)}):
        await connection.execute(f"ANALYZE {row['name']}")


class ImportStore:
    """Loads many records at once."""

    def __init__(
        self,
        database: Database,
        specs: CollectionSpecs,
        limits: Limits,
        limit: int = 8,
        changed_many: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Run at most `limit` imports at once.

        `changed_many`: called with the tenant after an import that changed at least MANY records.
        """
        self._changed_many = changed_many
        self._database = database
        self._specs = specs
        self._limits = limits
        self._references = ImportedReferences(specs)
        self._permits = FairSemaphore(limit, limit // RESERVED_SHARE)

    @asynccontextmanager
    async def load(
        self,
        actor: Actor,
        collection: str,
        read: Callable[[KeysOf], Chunks],
        mode: ImportMode,
        *,
        allow_empty: bool,
        change_reason: str,
    ) -> AsyncIterator[tuple[Transaction, ImportCounts]]:
        """Create, replace and, for a snapshot, delete records. Nothing is written unless the whole stream arrives.

        `read`: returns the stream, and computes the keys of each record by the given function.

        Yield the transaction of the import, which is committed at the end of the context, and the counts. Raises
        OverloadedError while this tenant, or all tenants together, run as many imports as allowed.
        """
        if not self._permits.try_acquire(actor.tenant_id):
            raise OverloadedError(
                f"{self._permits.in_use} imports are already running; nothing was written, try again later"
            )
        try:
            write = Write(
                actor, ChangeSource.IMPORT_CONTENT, await self._database.now(), change_reason, str(uuid_utils.uuid7())
            )
            async with self._load(write, collection, read, mode, allow_empty=allow_empty) as (transaction, counts):
                yield transaction, counts
        except Exception as error:
            raise_translated(error)
        finally:
            self._permits.release(actor.tenant_id)
        if counts.inserted + counts.updated + counts.deleted >= MANY:
            self._changed_many(actor.tenant_id)

    @asynccontextmanager
    async def _load(
        self,
        write: Write,
        collection: str,
        read: Callable[[KeysOf], Chunks],
        mode: ImportMode,
        *,
        allow_empty: bool,
    ) -> AsyncIterator[tuple[Transaction, ImportCounts]]:
        identity: dict[str, object] = {"tenant_id": write.actor.tenant_id, "collection": collection}
        await self._specs.load(write.actor.tenant_id, [collection])
        spec = self._specs.known(write.actor.tenant_id, collection)
        async with self._database.dedicated_connection() as connection:
            await connection.fetch(SQL["create_staging"], {})
            await connection.fetch(SQL["sample_staging"], {})
            await connection.fetch(SQL["create_locked"], {})
            await connection.fetch(SQL["index_locked"], {})
            orders = await connection.fetch(SQL["kept_orders"], identity)
            order_ids = [row["order_id"] for row in orders]
            keys = ContentKeys(
                [order_of(json.loads(row["keys"])) for row in orders], self._limits.max_indexed_text_bytes
            )
            staged = await self._stage(connection, write.actor, collection, read(keys))
            await connection.fetch(SQL["index_staging"], {})
            await connection.fetch(SQL["analyze_staging"], {})
            if not staged and mode is ImportMode.SNAPSHOT and not allow_empty:
                raise EmptySnapshotError(
                    "a snapshot without records would delete the whole collection; set allow_empty if that is intended"
                )
            async with connection.transaction() as transaction:
                await self._check(transaction, write.actor, spec, order_ids, may_be_unfit=keys.has_long_text)
                values = {**identity, "order_ids": order_ids}
                yield transaction, await self._apply_again_if_raced(transaction, write, values, mode, staged)

    async def _stage(self, connection: DedicatedConnection, actor: Actor, collection: str, chunks: Chunks) -> int:
        """Copy each chunk while the next one arrives, and return the number of records.

        Each is copied in its own transaction: one that waited for the caller would hold up all watchers.
        """
        copying = asyncio.ensure_future(asyncio.sleep(0))
        index = 0
        try:
            async for chunk in chunks:
                await self._refuse_unfit(actor, collection, chunk, index)
                await copying
                rows = [_row(record, number) for number, record in enumerate(chunk, index)]
                copying = asyncio.ensure_future(connection.copy("staging", COLUMNS, rows))
                index += len(chunk)
            await copying
            return index
        finally:
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)

    async def _refuse_unfit(self, actor: Actor, collection: str, chunk: Sequence[ImportedRecord], first: int) -> None:
        """Raise the error of the chunk's first record that violates the JSON Schema.

        `first`: the index of the chunk's first record in the stream.
        """
        if not self._specs.known(actor.tenant_id, collection).json_schema:
            return
        contents = [(collection, record.content, record_field(record.record_id)) for record in chunk]
        violations = await self._specs.violations(actor.tenant_id, contents)
        for index, (record, violation) in enumerate(zip(chunk, violations, strict=True), first):
            if violation is not None:
                raise violation.of_record(index, record.record_id, record.source)

    async def _check(
        self,
        transaction: Transaction,
        actor: Actor,
        spec: CollectionSpec,
        order_ids: Collection[int],
        *,
        may_be_unfit: bool,
    ) -> None:
        """Raise the error of an import that cannot be applied, with the spec held until it ends.

        `order_ids`: the orders whose keys were computed. `may_be_unfit`: a text of a declared field is too long.
        """
        identity: dict[str, object] = {"tenant_id": actor.tenant_id, "collection": spec.collection}
        await transaction.fetch(SQL["hold_declaration"], {**identity, "spec_lock": LockFamily.COLLECTION_SPEC})
        held = await transaction.fetch(SQL["definition_version"], identity)
        kept = {row["order_id"] for row in await transaction.fetch(SQL["kept_orders"], identity)}
        if (held[0]["version"] if held else 0) != spec.version or not kept.issubset(order_ids):
            raise ContentionError("the collection was declared again during the import; nothing was written, try again")
        if held and held[0]["upstream"]:
            raise CollectionBoundError(
                f"collection {spec.collection!r} belongs to sync {held[0]['upstream']!r}: an import would overwrite "
                "changes that are not sent yet; write with PatchContent or StreamPatches, or release the collection "
                "first",
                collection=spec.collection,
                upstream=held[0]["upstream"],
            )
        await self._refuse_duplicate(transaction)
        if not may_be_unfit and not spec.refusing:
            return
        for row in await transaction.fetch(SQL["unfit_in_staging"], {**identity, **limit_values(self._limits)}):
            error = error_of(row["failure"], spec.collection, row["record_id"], record_field(row["record_id"]))
            raise error.of_record(row["index"], row["record_id"], row["source"])

    async def _refuse_duplicate(self, transaction: Transaction) -> None:
        """Raise DuplicateRecordError for the first record whose id an earlier record of the stream has."""
        if not await transaction.fetch(SQL["duplicate_in_staging"], {}):
            return
        earlier, row = await transaction.fetch(SQL["first_duplicate_in_staging"], {})
        where = earlier["source"] or f"records[{earlier['index']}]"
        problem = f"{record_field(row['record_id'])} appears twice in the import, first at {where}"
        error = DuplicateRecordError(problem, first_index=earlier["index"], first_source=earlier["source"] or None)
        raise error.of_record(row["index"], row["record_id"], row["source"])

    async def _apply_again_if_raced(
        self, transaction: Transaction, write: Write, values: dict[str, object], mode: ImportMode, staged: int
    ) -> ImportCounts:
        """Write the staged records; after a race, try again with every stored record of the import locked.

        Raises ContentionError if every attempt is raced.
        """
        attempts = count()
        try:
            return await transaction.retry_part(
                lambda: self._apply(transaction, write, values, mode, staged, locks_all=next(attempts) > 0),
                or_on=RacedError,
            )
        except RacedError:
            raise ContentionError(
                "other calls keep creating or changing records of the import; nothing was written, try again"
            ) from None

    async def _apply(
        self,
        transaction: Transaction,
        write: Write,
        of_import: dict[str, object],
        mode: ImportMode,
        staged: int,
        *,
        locks_all: bool,
    ) -> ImportCounts:
        """Write the staged records.

        `locks_all`: also lock the records that the import leaves unchanged. Raises RacedError if other calls meanwhile
        created a record of the import, or changed one that is not locked. Statements that expect no conflict take half
        the time, so only later attempts use others.
        """
        values: dict[str, object] = {
            **of_import,
            "user_id": write.actor.user_id,
            "now": write.now,
            "change_reason": write.change_reason,
            "commit_id": write.commit_id or None,
            "request_id": write.request_id,
            "locks_all": locks_all,
        }
        await transaction.fetch(SQL["lock_snapshot" if mode is ImportMode.SNAPSHOT else "lock_imported"], values)
        await transaction.fetch(SQL["analyze_locked"], {})
        await self._references.name(transaction, values)
        upserted = await self._write(transaction, values, suffix="_again" if locks_all else "")
        if (await transaction.fetch(SQL["lock_imported_drafts"], values))[0]["stale"]:
            await transaction.fetch(SQL["refresh_imported"], values)
        deleted = 0
        if mode is ImportMode.SNAPSHOT:
            unlisted = (await transaction.fetch(SQL["delete_unlisted"], values))[0]
            if unlisted["raced"]:
                raise RacedError
            deleted = unlisted["deleted"]
        await self._references.check(transaction, values, deletes=deleted > 0)
        inserted, updated = upserted["inserted"], upserted["updated"]
        return ImportCounts(
            inserted,
            updated,
            staged - inserted - updated,
            deleted,
            write.commit_id if inserted + updated + deleted else "",
        )

    async def _write(self, transaction: Transaction, values: dict[str, object], suffix: str) -> asyncpg.Record:
        """Log and write the records that differ, and return their counts. Raises RacedError as `_apply` does."""
        try:
            created = (await transaction.fetch(SQL[f"log_created{suffix}"], values))[0]
            changed = (await transaction.fetch(SQL[f"log_changed{suffix}"], values))[0]
            if changed["raced"]:
                raise RacedError
            upserted = (await transaction.fetch(SQL[f"upsert_imported{suffix}"], values))[0]
        except asyncpg.UniqueViolationError:
            raise RacedError from None
        logged = (created["inserted"], changed["updated"], created["digest"] + changed["digest"])
        if logged != tuple(upserted):
            raise RacedError
        return upserted


def _row(record: ImportedRecord, index: int) -> tuple[object, ...]:
    return record.record_id, record.content, record.parent_id, record.position, index, record.source, record.keys
