"""Declaring, reading and listing collections."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from ...concurrency.call_context import call_deadline
from ...domain.collections import CollectionSpec, IndexOrder, IndexState
from ...domain.content import Limits
from ...domain.edits import format_pointer
from ...domain.errors import CollectionConflictError, CollectionNotFoundError, DraftlineError, VersionMismatchError
from ...domain.filters.ast import Path
from ...domain.records import Actor
from ..advisory_locks import LockFamily
from ..database import Database
from ..driver_errors import AnsweredBeforeError
from ..idempotency import Requests, store_unfinished
from ..page_tokens import PageTokens
from ..statements import load
from ..transaction import Rows, Transaction
from .cache import READ_AGE_S, CollectionSpecs, collection_spec_of, order_of
from .mismatches import counts, refuse_stored
from .order_entries import OrderEntries
from .statistic_specs import StoredStatistic, statistics_of, to_json
from .tallies import Tallies

SQL = load("collections")
ORDERS = load("orders")
STATISTICS = load("statistics")
MAX_PAGE_BYTES = 2 * 1024 * 1024  # of a page; clients accept 4 MiB a message by default


class _Written(msgspec.Struct):
    """The attributes that storing a spec sets."""

    version: int
    created_at: datetime
    updated_at: datetime


_decode_written = msgspec.json.Decoder(_Written).decode


@dataclass(frozen=True, slots=True)
class StoredCollection:
    spec: CollectionSpec
    indexes: Mapping[IndexOrder, IndexState]
    statistics: Sequence[StoredStatistic] = ()


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
        self._builds: set[asyncio.Task[None]] = set()

    async def put(
        self,
        actor: Actor,
        spec: CollectionSpec,
        *,
        expected_version: int | None,
        validate_only: bool,
    ) -> StoredCollection:
        """Store a spec and build its indexes.

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
                await store_unfinished(transaction, actor, _written(stored))
            return stored, is_new

        is_new = True
        try:
            await self._refuse_overlong_text(actor, spec)
            await refuse_stored(self._database, actor.tenant_id, spec)
            stored, is_new = await self._database.transact(work, idempotent=actor.request is not None)
        except (AnsweredBeforeError, DraftlineError):
            before = await self._stored_before(actor, spec)
            if before is None:
                raise
            stored = before
        if not validate_only:
            stored_at = time.monotonic()
            await self._entries.wait_for_inflight_writes(with_imports=False)  # every later write uses the new one
            await self._specs.load(actor.tenant_id, [spec.collection])
            await self._build(actor.tenant_id, spec.collection)
            if is_new:
                await self._wait_for_stale_caches(stored_at)
        return (await self._with_states(actor, [stored]))[0]

    async def _stored_before(self, actor: Actor, spec: CollectionSpec) -> CollectionSpec | None:
        """Return the spec that an earlier, unfinished run of the request stored; None if there is none."""
        recalled = await self._requests.recall(actor)
        if actor.request is None or recalled is None or recalled.unfinished is None:
            return None
        recalled.refuse_other(actor.request)
        written = _decode_written(recalled.unfinished)
        return replace(spec, version=written.version, created_at=written.created_at, updated_at=written.updated_at)

    async def get(self, actor: Actor, collection: str) -> StoredCollection:
        loaded = await self._specs.load(actor.tenant_id, [collection])
        if collection not in loaded:
            raise CollectionNotFoundError(f"collection {collection!r} was never declared", collection=collection)
        return (await self._with_states(actor, [loaded[collection]]))[0]

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
        found = specs[: _fitting(specs)]
        more = len(names) > len(found)
        next_token = self._cursors.seal(query, [found[-1].collection]) if more else ""
        return await self._with_states(actor, found), next_token

    async def _build(self, tenant_id: str, collection: str) -> None:
        """Wait for the entries of the collection's orders.

        A caller that is cancelled does not stop the build, so a retry can find it done.
        """

        async def build() -> None:
            call_deadline.set(None)  # for this task only
            await self._entries.build(tenant_id, collection)
            await self._tallies.build(tenant_id, collection)

        task = asyncio.create_task(build(), name="order entries")
        self._builds.add(task)
        task.add_done_callback(self._builds.discard)
        await asyncio.shield(task)

    async def _store(
        self, transaction: Transaction, actor: Actor, spec: CollectionSpec, expected_version: int | None
    ) -> tuple[CollectionSpec, bool]:
        """Store the spec; return it as stored, and whether it differs from the one before."""
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id,
            "collection": spec.collection,
            **_as_json(spec),
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
        if expected_version is not None and expected_version != before:
            raise VersionMismatchError(f"collection {spec.collection!r} is at version {before}", current_version=before)
        if indexes < (after := await self._count_indexes(transaction, actor)) > self._max_indexes:
            raise CollectionConflictError(
                f"the tenant would declare {after} fields and orders, and may have {self._max_indexes} indexes",
                limit=self._max_indexes,
            )
        await transaction.fetch(ORDERS["put_orders"], values)
        await transaction.fetch(STATISTICS["put_statistics"], values)
        key: dict[str, object] = {"tenant_id": actor.tenant_id, "collections": [spec.collection]}
        stored = collection_spec_of((await transaction.fetch(SQL["get_definitions"], key))[0])
        return stored, stored.version != before

    async def _count_indexes(self, transaction: Transaction, actor: Actor) -> int:
        count: int = (await transaction.fetch(SQL["count_indexes"], {"tenant_id": actor.tenant_id}))[0]["count"]
        return count

    async def _wait_for_stale_caches(self, stored_at: float) -> None:
        """Wait until other processes no longer use the previous spec for the types of their reads."""
        if (await self._database.fetch(SQL["other_processes"], {}, idempotent=True))[0]["others"]:
            await asyncio.sleep(stored_at + READ_AGE_S - time.monotonic())

    async def _refuse_overlong_text(self, actor: Actor, spec: CollectionSpec) -> None:
        for path in spec.indexed_text():
            limit = self._limits.max_indexed_text_bytes
            values: dict[str, object] = {
                "tenant_id": actor.tenant_id,
                "collection": spec.collection,
                "path": list(path),
                "max_indexed_text_bytes": limit,
            }
            rows = await self._database.fetch(SQL["overlong_text"], values, idempotent=True)
            if rows:
                pointer, record_id = format_pointer(path), rows[0]["record_id"]
                raise CollectionConflictError(
                    f"{pointer} cannot be declared as text: that of record {record_id!r} is over {limit} bytes",
                    path=pointer,
                    record_id=record_id,
                )

    async def _with_states(self, actor: Actor, specs: Sequence[CollectionSpec]) -> list[StoredCollection]:
        """Return the specs with the states of their orders and statistics."""
        collections = [spec.collection for spec in specs if spec.fields]
        rows: Rows = []
        if collections:
            values: dict[str, object] = {"tenant_id": actor.tenant_id, "collections": collections}
            rows = await self._database.fetch(ORDERS["get_orders"], values, idempotent=True)
        states = {(row["collection"], order_of(json.loads(row["keys"]))): IndexState(row["state"]) for row in rows}
        declaring = [spec.collection for spec in specs if spec.statistics]
        statistics = await statistics_of(self._database, actor.tenant_id, declaring) if declaring else {}
        return [
            StoredCollection(
                spec,
                {order: states.get((spec.collection, order), IndexState.BUILDING) for order in spec.indexes()},
                statistics.get(spec.collection, ()),
            )
            for spec in specs
        ]


def _written(stored: CollectionSpec) -> str:
    values = {"version": stored.version, "created_at": stored.created_at, "updated_at": stored.updated_at}
    return msgspec.json.encode(values).decode()


def _fitting(specs: Sequence[CollectionSpec]) -> int:
    """Return how many of the specs fit on one page; at least one."""
    size = 0
    for index, spec in enumerate(specs):
        size += _size(spec)
        if index and size > MAX_PAGE_BYTES:
            return index
    return len(specs)


def _size(spec: CollectionSpec) -> int:
    """Return about how many bytes a spec takes in a response, where fields and orders appear twice."""
    paths = [*spec.fields, *(key.path for order in spec.orders for key in order)]
    texts = [spec.json_schema, *(format_pointer(path) * 2 for path in paths)]
    return 200 + sum(len(text.encode()) + 20 for text in texts)


def _as_json(spec: CollectionSpec) -> dict[str, object]:
    fields = [
        {"path": path, "type": type_, **({"on_type_mismatch": "REFUSE"} if path in spec.refusing else {})}
        for path, type_ in spec.fields.items()
    ]
    orders = [[{"path": key.path, "descending": key.descending} for key in order] for order in spec.orders]
    return {
        "fields": json.dumps(fields),
        "orders": json.dumps(orders),
        "indexed_text": json.dumps(_checked(spec)),
        "statistics": json.dumps([to_json(each) for each in spec.statistics]),
    }


def _checked(spec: CollectionSpec) -> list[object]:
    """Return the fields that `draftline.field_failure` checks in written content; those that refuse come first."""
    refusing: list[object] = [
        {"path": path, "type": type_} for path, type_ in spec.fields.items() if path in spec.refusing
    ]
    return [*refusing, *(path for path in spec.indexed_text() if path not in spec.refusing)]
