"""Records and drafts of one tenant through the stores, without a server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any, TypeVar

from draftline_server.domain.content import Limits
from draftline_server.domain.drafts import (
    ChangeByDelta,
    ChangeByOperations,
    CommitResult,
    ConflictPolicy,
    Creation,
    Deletion,
    DraftEdit,
    MergedRecord,
    Resolution,
    SaveResult,
    Selection,
    edit_of_delta,
)
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.records import (
    Actor,
    Delta,
    ImportCounts,
    ImportedRecord,
    ImportMode,
    KeysOf,
    NewRecord,
    Patch,
    PatchResult,
    Record,
)
from draftline_server.store.collections.cache import CollectionSpecs
from draftline_server.store.commits import CommitStore
from draftline_server.store.content import ContentStore
from draftline_server.store.database import Database
from draftline_server.store.drafts import DraftStore
from draftline_server.store.fetched_patches import FetchedPatches
from draftline_server.store.imports import ImportStore
from draftline_server.store.in_place_patches import InPlacePatches
from draftline_server.store.json_schema.pool import Schemas
from draftline_server.store.lists.merged import MergedStore
from draftline_server.store.page_tokens import PageTokens
from draftline_server.store.patches import PatchStore
from draftline_server.store.pool_settings import PoolSettings
from draftline_server.store.statements import Statement, load
from draftline_server.store.transaction import Transaction
from draftline_server.store.write_transactions import WriteTransactions

COLLECTION = "films"
CHECK = load("drafts")["check_drafts"]
T = TypeVar("T")


class _UndoneError(Exception):
    pass


async def written(
    transactions: WriteTransactions,
    actor: Actor,
    work: Callable[[Transaction], Awaitable[T]],
    *,
    validate_only: bool = False,
    collections: Sequence[str] = (COLLECTION,),
) -> T:
    """Return what `work` returns in a transaction of its own."""

    async def run(transaction: Transaction) -> T:
        if validate_only:
            transaction.mark_rollback_only()
        return await work(transaction)

    return await transactions.run(actor, run, collections)


async def all_or_none(
    transactions: WriteTransactions,
    actor: Actor,
    work: Callable[[Transaction], Awaitable[Sequence[Any]]],
    *,
    partial: bool,
    validate_only: bool = False,
    collections: Sequence[str] = (COLLECTION,),
) -> Sequence[Any]:
    """Return the results of `work`; roll back if any of them has an error, unless `partial`."""
    results: Sequence[Any] = []

    async def run(transaction: Transaction) -> None:
        nonlocal results
        results = await work(transaction)
        if not partial and any(result.error for result in results):
            raise _UndoneError

    with suppress(_UndoneError):
        await written(transactions, actor, run, validate_only=validate_only, collections=collections)
    return results


async def patched(
    transactions: WriteTransactions,
    patches_store: PatchStore,
    actor: Actor,
    patches: Sequence[Patch],
    *,
    partial: bool,
    validate_only: bool = False,
) -> Sequence[PatchResult]:
    """Return the results of a batch of patches."""

    async def work(transaction: Transaction) -> Sequence[PatchResult]:
        results, _ = await patches_store.patch_all(transaction, actor, patches, change_reason="", allow_partial=partial)
        return results

    collections = list({patch.collection for patch in patches})
    return await all_or_none(
        transactions, actor, work, partial=partial, validate_only=validate_only, collections=collections
    )


SCHEMAS = Schemas()  # of all worlds: its processes end with this one


class World:
    """The stores, with shortcuts that take and return plain JSON values. Users are named by one word."""

    def __init__(
        self, database: Database, tenant_id: str, limits: Limits | None = None, *, partial_updates: bool = True
    ) -> None:
        limits = limits or Limits()
        self.database = database
        self.tenant_id = tenant_id
        self.specs = CollectionSpecs(database, SCHEMAS)
        applier = (InPlacePatches if partial_updates else FetchedPatches)(self.specs, limits)
        self.content = ContentStore(database, self.specs, limits)
        self.patches = PatchStore(database, self.specs, applier)
        self.imports = ImportStore(database, self.specs, limits)
        self.drafts = DraftStore(limits)
        self.commits = CommitStore(self.specs, limits)
        self.transactions = WriteTransactions(database, self.specs)
        self.merged = MergedStore(database, self.specs, PageTokens(b"secret"))

    def actor(self, user: str) -> Actor:
        return Actor(self.tenant_id, user)

    async def write(self, user: str, work: Callable[[Transaction], Awaitable[T]], *, validate_only: bool = False) -> T:
        """Return what `work` returns in a transaction of its own."""
        return await written(self.transactions, self.actor(user), work, validate_only=validate_only)

    async def declare(
        self,
        json_schema: str = "",
        *,
        fields: str = "[]",
        orders: str = "[]",
        indexed_text: str = "[]",
        statistics: str = "[]",
        relations: str = "[]",
    ) -> None:
        """Declare the collection without building its indexes and entries; writes keep the entries all the same."""
        values: dict[str, object] = {
            "tenant_id": self.tenant_id, "collection": COLLECTION, "fields": fields, "orders": orders,
            "indexed_text": indexed_text, "json_schema": json_schema, "expected_version": None,
            "now": datetime.now(UTC), "history": "VALUES", "statistics": statistics,
            "relations": relations,
        }  # fmt: skip
        await self.database.fetch(load("collections")["put_definition"], values)
        await self.database.fetch(load("orders")["put_orders"], values)
        await self.database.fetch(load("statistics")["put_statistics"], values)

    async def create(
        self, record_id: str, content: dict[str, Any], user: str = "sys",
        *, parent_id: str | None = None, position: int | None = None,
    ) -> None:  # fmt: skip
        new = NewRecord(COLLECTION, record_id, json.dumps(content), parent_id, position)
        await self.content.create(self.actor(user), new, change_reason="", validate_only=False)

    async def patch(
        self, record_id: str, delta: dict[str, Any], strategy: Strategy = Strategy.DEEP, user: str = "sys"
    ) -> None:
        patch = Patch(COLLECTION, record_id, Delta(json.dumps(delta), strategy))
        await self.patches.patch(self.actor(user), patch, change_reason="", validate_only=False)

    async def move(self, record_id: str, parent_id: str | None = None, position: int | None = None) -> None:
        """Set the given attributes."""
        patch = Patch(COLLECTION, record_id, parent_id=parent_id, position=position)
        await self.patches.patch(self.actor("sys"), patch, change_reason="", validate_only=False)

    async def delete(self, record_id: str, user: str = "sys") -> None:
        await self.content.delete(
            self.actor(user), COLLECTION, record_id, expected_version=None, condition=None, allow_missing=False,
            change_reason="", validate_only=False,
        )  # fmt: skip

    async def undelete(self, record_id: str, user: str = "sys") -> None:
        await self.content.undelete(
            self.actor(user), COLLECTION, record_id, expected_version=None, change_reason="", validate_only=False
        )  # fmt: skip

    async def put(self, record_id: str, content: dict[str, Any]) -> None:
        """Create the record or replace its content, in fewer statements than `load`."""
        delta = Delta(json.dumps(content), Strategy.REPLACE)
        patch = Patch(COLLECTION, record_id, delta, allow_missing=True)
        await self.patches.patch(self.actor("sys"), patch, change_reason="", validate_only=False)

    async def load(
        self, records: dict[str, dict[str, Any]], mode: ImportMode = ImportMode.UPSERT, user: str = "sys"
    ) -> ImportCounts:
        """Import records and return the counts."""

        async def chunks(keys_of: KeysOf) -> AsyncIterator[Sequence[ImportedRecord]]:
            yield [ImportedRecord(id_, json.dumps(content), keys_of(content)) for id_, content in records.items()]

        async with self.imports.load(
            self.actor(user), COLLECTION, chunks, mode, allow_empty=True, change_reason=""
        ) as (_, counts):
            return counts

    async def record(self, record_id: str) -> Record:
        return await self.content.get(self.actor("sys"), COLLECTION, record_id, show_deleted=True)

    async def save_all(
        self, user: str, edits: Sequence[DraftEdit], *, session_id: str = "", reason: str = "", partial: bool = False,
        move: bool = False,
    ) -> Sequence[SaveResult]:  # fmt: skip
        attempts = count()
        return await all_or_none(
            self.transactions,
            self.actor(user),
            lambda transaction: self.drafts.save(
                transaction, self.actor(user), COLLECTION, edits, session_id=session_id, change_reason=reason,
                omit_content=False, move_to_session=move, again=next(attempts) > 0,
            ),
            partial=partial,
        )  # fmt: skip

    async def patch_all(
        self, patches: Sequence[Patch], *, partial: bool = False, user: str = "sys"
    ) -> Sequence[PatchResult]:
        return await patched(self.transactions, self.patches, self.actor(user), patches, partial=partial)

    async def save(
        self, user: str, edit: DraftEdit, *, session_id: str = "", move: bool = False
    ) -> MergedRecord | None:
        """Save an edit and return the merged record, or None if a creation vanished. Raise the edit's error."""
        result = (await self.save_all(user, [edit], session_id=session_id, move=move))[0]
        if result.error is not None:
            raise result.error
        return result.merged

    async def commit(
        self, user: str, selection: Selection | None = None, policy: ConflictPolicy = ConflictPolicy.REJECT,
        *, validate_only: bool = False, allow_partial: bool = False, resolutions: Sequence[Resolution] = (),
    ) -> Sequence[CommitResult]:  # fmt: skip
        results, _ = await self.write(
            user,
            lambda transaction: self.commits.commit(
                transaction, self.actor(user), COLLECTION, selection or Selection(), policy,
                change_reason="", allow_partial=allow_partial, with_content=True, resolutions=resolutions,
            ),
            validate_only=validate_only,
        )  # fmt: skip
        return results

    async def discard(
        self, user: str, selection: Selection | None = None, *, validate_only: bool = False
    ) -> Sequence[MergedRecord]:
        return await self.write(
            user,
            lambda transaction: self.drafts.discard(
                transaction, self.actor(user), COLLECTION, selection or Selection(), with_content=True
            ),
            validate_only=validate_only,
        )

    async def stored(self, table: str) -> list[dict[str, Any]]:
        """Return every row of this tenant in a table, with jsonb as Python values."""
        order = "collection, record_id, user_id" if table == "draft" else "collection, record_id"
        sql = f"SELECT to_jsonb(t)::text AS row FROM draftline.{table} AS t WHERE tenant_id = $1 ORDER BY {order}"
        rows = await self.database.fetch(Statement("stored", sql, ("tenant_id",)), {"tenant_id": self.tenant_id})
        return [json.loads(row["row"], parse_float=Decimal) for row in rows]

    async def draft(self, user: str, record_id: str) -> dict[str, Any] | None:
        for row in await self.stored("draft"):
            if (row["user_id"], row["record_id"]) == (user, record_id):
                return row
        return None

    async def differences(self) -> list[Any]:
        """Return the drafts whose stored merge differs from their edit applied to the record's content."""
        values: dict[str, object] = {
            "tenant_id": self.tenant_id, "user_id": "", "collection": "", "record_id": "", "limit": 10_000
        }  # fmt: skip
        rows = [row for row in await self.database.fetch(CHECK, values) if row["tenant_id"] == self.tenant_id]
        assert len(rows) == len(await self.stored("draft"))
        return [dict(row) for row in rows if row["differs"] or row["is_orphan"]]


@asynccontextmanager
async def connected(url: str, **settings: Any) -> AsyncIterator[Database]:
    database = Database(url, PoolSettings(**settings))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def change(
    record_id: str, delta: dict[str, Any], strategy: Strategy = Strategy.SHALLOW, depth: int = 0, **rest: Any
) -> DraftEdit:
    return DraftEdit(record_id, ChangeByDelta(edit_of_delta(delta, strategy, depth)), **rest)


def moving(record_id: str, *, edit: dict[str, Any] | None = None, **rest: Any) -> DraftEdit:
    """An edit of the attributes that are given, and of the content by a delta if there is one."""
    attributes = {name: rest.pop(name) for name in ("parent_id", "position") if name in rest}
    return DraftEdit(record_id, ChangeByDelta({"s": edit} if edit else {}), attributes=attributes, **rest)


def operate(record_id: str, *steps: Operation, **rest: Any) -> DraftEdit:
    return DraftEdit(record_id, ChangeByOperations(steps), **rest)


def creation(record_id: str, content: dict[str, Any], **rest: Any) -> DraftEdit:
    return DraftEdit(record_id, Creation(json.dumps(content)), **rest)


def deletion(record_id: str, **rest: Any) -> DraftEdit:
    return DraftEdit(record_id, Deletion(), **rest)


def of_records(*record_ids: str, **versions: int) -> Selection:
    """A selection by record, each with or without an expected version."""
    return Selection({**dict.fromkeys(record_ids), **versions})
