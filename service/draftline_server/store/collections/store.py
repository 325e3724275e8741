"""Declaring, reading and listing collections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from ...concurrency.call_context import call_deadline, remaining_s
from ...domain.changes import History
from ...domain.collections import CollectionSpec
from ...domain.content import Limits
from ...domain.errors import (
    CollectionBoundError,
    CollectionConflictError,
    CollectionNotFoundError,
    DraftlineError,
    VersionMismatchError,
)
from ...domain.filters.ast import Path
from ...domain.records import Actor
from ...domain.relations import check_names
from ..advisory_locks import LockFamily
from ..database import Database
from ..driver_errors import AnsweredBeforeError
from ..idempotency import Requests, store_unfinished
from ..page_tokens import PageTokens
from ..relations.dangling import Dangling, count_dangling
from ..statements import load
from ..transaction import Rows, Transaction
from .cache import READ_AGE_S, CollectionSpecs, collection_spec_of
from .mismatches import counts, refuse_unfit
from .order_entries import OrderEntries
from .spec_rows import as_json, count_fitting, decode_written, written_json
from .states import StoredCollection, StoredIndex, states_of
from .statistic_specs import statistics_of, with_progress
from .tallies import Tallies

SQL = load("collections")
ORDERS = load("orders")
STATISTICS = load("statistics")
BUILD_WAIT_S = 5.0  # the longest wait of PutCollection for the indexes
BUILD_WAIT_SHARE = 0.5  # of the call's deadline


class CollectionStore:
    """A store of specs and of the orders that they require."""

    def __init__(
        self,
        database: Database,
        specs: CollectionSpecs,
        cursors: PageTokens,
        limits: Limits,
        *,
        entries: OrderEntries,
        tallies: Tallies,
        requests: Requests,
        max_indexes: int,
    ) -> None:
        self._database = database
        self._requests = requests
        self._specs = specs
        self._entries = entries
        self._tallies = tallies
        self._cursors = cursors
        self._limits = limits
        self._max_indexes = max_indexes  # per tenant
        self._builds: set[asyncio.Task[Mapping[str, Dangling]]] = set()

    async def put(
        self,
        actor: Actor,
        spec: CollectionSpec,
        *,
        expected_version: int | None,
        validate_only: bool,
    ) -> StoredCollection:
        """Store a spec, begin to build its indexes, and return their states: READY if they were built soon.

        The request counts as unfinished until its response is stored; see Requests.finish.

        Raise VersionMismatchError if the spec is not at `expected_version`; CollectionConflictError if a stored
        text is too long for a required index, a record holds a value that a field refuses, or the tenant has too many
        indexes; InvalidFieldError if the JSON Schema is invalid.
        """
        if spec.json_schema:
            await self._specs.schemas.check(actor.tenant_id, spec.json_schema)

        async def work(transaction: Transaction) -> tuple[CollectionSpec, bool]:
            stored, is_new = await self._store(transaction, actor, spec, expected_version)
            if validate_only:
                transaction.mark_rollback_only()
            else:
                await store_unfinished(transaction, actor, written_json(stored))
            return stored, is_new

        is_new = True
        dangling: Mapping[str, Dangling] = {}
        try:
            current = (await self._specs.load(actor.tenant_id, [spec.collection])).get(spec.collection)
            await refuse_unfit(self._database, actor.tenant_id, spec, current, self._limits.max_indexed_text_bytes)
            stored, is_new = await self._database.transact(work, idempotent=actor.request is not None)
        except (AnsweredBeforeError, DraftlineError):
            before = await self._stored_before(actor, spec)
            if before is None:
                raise
            stored = before
        if not validate_only:
            stored_at = time.monotonic()
            await self._entries.wait_for_inflight_writes(with_imports=False)  # every later write uses the new one
            self._specs.expire(actor.tenant_id)  # the inverses of relations are part of other specs
            await self._specs.load(actor.tenant_id, [spec.collection])
            counts_dangling = is_new and bool(spec.checked_relations())
            dangling = await self._build(actor.tenant_id, spec.collection, counts_dangling=counts_dangling)
            if is_new:
                await self._wait_for_stale_caches(stored_at)
        return replace((await self._with_states(actor, [stored]))[0], dangling=dangling)

    async def _stored_before(self, actor: Actor, spec: CollectionSpec) -> CollectionSpec | None:
        """Return the spec that an earlier, unfinished run of the request stored; None if there is none."""
        recalled = await self._requests.recall(actor)
        if actor.request is None or recalled is None or recalled.unfinished is None:
            return None
        recalled.refuse_other(actor.request)
        written = decode_written(recalled.unfinished)
        return replace(spec, version=written.version, created_at=written.created_at, updated_at=written.updated_at)

    async def get(self, actor: Actor, collection: str) -> StoredCollection:
        loaded = await self._specs.load(actor.tenant_id, [collection])
        if collection not in loaded:
            raise CollectionNotFoundError(f"collection {collection!r} was never declared", collection=collection)
        return (await self._with_states(actor, [loaded[collection]]))[0]

    async def dangling(self, actor: Actor, collection: str) -> Mapping[str, Dangling]:
        """Return the references without a record, by checked relation; this reads all references."""
        return await count_dangling(self._database, actor.tenant_id, collection)

    async def mismatch_counts(self, actor: Actor, spec: CollectionSpec) -> Mapping[Path, int]:
        """Return for each declared field how many records hold a value of the wrong type; this reads all records."""
        return await counts(self._database, actor.tenant_id, spec)

    async def page(self, actor: Actor, page_size: int, page_token: str) -> tuple[list[StoredCollection], str]:
        """Return a page of collections by name, declared or not, and the token of the next page."""
        query = ["collections", actor.tenant_id]
        after = self._cursors.open(query, page_token)[0] if page_token else ""
        rows = await self._database.fetch(
            SQL["list_collections"],
            {"tenant_id": actor.tenant_id, "after": after, "page_size": page_size + 1},
            idempotent=True,
        )
        names = [row["collection"] for row in rows]
        loaded = await self._specs.load(actor.tenant_id, names[:page_size])
        specs = [loaded.get(name, CollectionSpec(name)) for name in names[:page_size]]
        found = specs[: count_fitting(specs)]
        more = len(names) > len(found)
        next_token = self._cursors.seal(query, [found[-1].collection]) if more else ""
        return await self._with_states(actor, found), next_token

    async def _build(self, tenant_id: str, collection: str, *, counts_dangling: bool = False) -> Mapping[str, Dangling]:
        """Build the orders and statistics in the background, and wait for that up to a share of the deadline.

        A caller that leaves or is cancelled does not stop the build. Return the references without a record if they
        are counted by then, with `counts_dangling`.
        """

        async def build() -> Mapping[str, Dangling]:
            call_deadline.set(None)  # for this task only
            await self._entries.build(tenant_id, collection)
            self._specs.expire(tenant_id)  # now the inverses are ready
            await self._tallies.build(tenant_id, collection)
            return await self._count_dangling(tenant_id, collection) if counts_dangling else {}

        task = asyncio.create_task(build(), name="order entries")
        self._builds.add(task)
        task.add_done_callback(self._build_ended)
        remaining = remaining_s()
        wait_s = BUILD_WAIT_S if remaining is None else min(BUILD_WAIT_S, remaining * BUILD_WAIT_SHARE)
        await asyncio.wait({task}, timeout=wait_s)
        return task.result() if task.done() else {}

    async def _count_dangling(self, tenant_id: str, collection: str) -> Mapping[str, Dangling]:
        """Count the references without a record that were written before every write checked them, and log them."""
        await self._entries.wait_for_inflight_writes(with_imports=True)
        found = await count_dangling(self._database, tenant_id, collection)
        for relation, each in found.items():
            if each.count:
                structlog.get_logger().warning(
                    "dangling_references", tenant_id=tenant_id, collection=collection, relation=relation,
                    count=each.count, record_ids=list(each.record_ids),
                )  # fmt: skip
        return found

    def _build_ended(self, task: asyncio.Task[Mapping[str, Dangling]]) -> None:
        """Log that a build failed. The background task tries it again."""
        self._builds.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            structlog.get_logger().warning("order_entries_failed", exc_info=error)

    async def _store(
        self, transaction: Transaction, actor: Actor, spec: CollectionSpec, expected_version: int | None
    ) -> tuple[CollectionSpec, bool]:
        """Store the spec; return it as stored, and whether it differs from the one before."""
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id,
            "collection": spec.collection,
            **as_json(spec),
            "json_schema": spec.json_schema,
            "history": spec.history,
            "expected_version": expected_version,
            "now": await transaction.now(),
        }
        locks = {"spec_lock": LockFamily.COLLECTION_SPEC, "tenant_lock": LockFamily.TENANT_INDEXES}
        await transaction.fetch(SQL["lock_declaration"], {**values, **locks})
        indexes = await self._count_indexes(transaction, actor)
        row = (await transaction.fetch(SQL["put_definition"], values))[0]
        before = row["version_before"] or 0
        if row["upstream"] and spec.history is History.PATHS:
            raise CollectionBoundError(
                f"collection {spec.collection!r} belongs to sync {row['upstream']!r}, which needs "
                "CHANGE_HISTORY_VALUES",
                collection=spec.collection,
                upstream=row["upstream"],
            )
        if expected_version is not None and expected_version != before:
            raise VersionMismatchError(f"collection {spec.collection!r} is at version {before}", current_version=before)
        if indexes < (after := await self._count_indexes(transaction, actor)) > self._max_indexes:
            raise CollectionConflictError(
                f"the tenant would declare {after} fields and orders, and may have {self._max_indexes} indexes",
                limit=self._max_indexes,
            )
        await transaction.fetch(ORDERS["put_orders"], values)
        await transaction.fetch(STATISTICS["put_statistics"], values)
        collections = {spec.collection, *(each.collection for each in spec.relations)}
        key: dict[str, object] = {"tenant_id": actor.tenant_id, "collections": list(collections)}
        specs = [collection_spec_of(row) for row in await transaction.fetch(SQL["get_definitions"], key)]
        for each in specs:
            check_names(each.collection, each.relations, each.inverses, each.fields)
        stored = next(each for each in specs if each.collection == spec.collection)
        return stored, stored.version != before

    async def _count_indexes(self, transaction: Transaction, actor: Actor) -> int:
        count: int = (await transaction.fetch(SQL["count_indexes"], {"tenant_id": actor.tenant_id}))[0]["count"]
        return count

    async def _wait_for_stale_caches(self, stored_at: float) -> None:
        """Wait until other processes no longer use the previous spec for the types of their reads."""
        if (await self._database.fetch(SQL["other_processes"], {}, idempotent=True))[0]["others"]:
            await asyncio.sleep(stored_at + READ_AGE_S - time.monotonic())

    async def _with_states(self, actor: Actor, specs: Sequence[CollectionSpec]) -> list[StoredCollection]:
        """Return the specs with the states of their orders, relations and statistics."""
        collections = [spec.collection for spec in specs if spec.fields or spec.relations]
        rows: Rows = []
        if collections:
            values: dict[str, object] = {"tenant_id": actor.tenant_id, "collections": collections}
            rows = await self._database.fetch(ORDERS["get_orders"], values, idempotent=True)
        found, relations = states_of(rows)
        declaring = [spec.collection for spec in specs if spec.statistics]
        declared = await statistics_of(self._database, actor.tenant_id, declaring) if declaring else {}
        statistics = await with_progress(self._database, actor.tenant_id, declared)
        return [
            StoredCollection(
                spec,
                {order: found.get((spec.collection, order), StoredIndex()) for order in spec.indexes()},
                statistics.get(spec.collection, ()),
                relations.get(spec.collection, {}),
            )
            for spec in specs
        ]
