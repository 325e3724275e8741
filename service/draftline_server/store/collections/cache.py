"""A cache of collection specs.

A cached spec may be out of date. Every write sends the database the version of the spec that it was
checked against, and is refused as stale if another version is current. A collection that is not cached counts as
undeclared until then, so the first write to an undeclared collection needs no look-up.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import asyncpg

from ...domain.changes import History
from ...domain.collections import CollectionSpec, IndexKey, IndexOrder
from ...domain.errors import ContentionError, SchemaViolationError
from ...domain.filters.ast import FieldType
from ..database import Database
from ..driver_errors import RacedError
from ..json_schema.pool import Schemas
from ..statements import load
from . import relation_specs
from .statistic_specs import from_json

SQL = load("collections")
T = TypeVar("T")

MAX_KEPT = 10_000  # cached specs, of all tenants together
READ_AGE_S = 1.0  # the maximum age of a spec whose types a read uses
MAX_ATTEMPTS = 5  # of a call that conflicts with another one each time


class StaleCollectionSpecError(Exception):
    """A write was checked against a spec that is no longer current; nothing was written."""

    def __init__(self, collections: Collection[str] = ()) -> None:
        """Name the collections whose specs have to be read again, unless the caller knows them."""
        super().__init__()
        self.collections = collections


@lru_cache(maxsize=1_000)
def _empty_spec(collection: str) -> CollectionSpec:
    return CollectionSpec(collection)


class CollectionSpecs:
    """The cached specs of this process, by tenant and collection."""

    def __init__(self, database: Database, schemas: Schemas) -> None:
        self._database = database
        self.schemas = schemas
        self._kept: OrderedDict[tuple[str, str], CollectionSpec] = OrderedDict()
        self._loaded_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def known(self, tenant_id: str, collection: str) -> CollectionSpec:
        """Return the cached spec, or the empty one if none is cached."""
        return self._kept.get((tenant_id, collection)) or _empty_spec(collection)

    async def current(self, tenant_id: str, collection: str) -> CollectionSpec:
        """Return the spec for a read, at most READ_AGE_S old."""
        key = (tenant_id, collection)
        if time.monotonic() - self._loaded_at.get(key, -READ_AGE_S) >= READ_AGE_S:
            await self.load(tenant_id, [collection])
        return self.known(tenant_id, collection)

    def expire(self, tenant_id: str) -> None:
        """Make the next read of each collection of a tenant reload its spec."""
        for key in [key for key in self._loaded_at if key[0] == tenant_id]:
            del self._loaded_at[key]

    async def load(self, tenant_id: str, collections: Collection[str]) -> Mapping[str, CollectionSpec]:
        """Reload specs from the database; collections without a spec are missing from the result."""
        asked_at = time.monotonic()
        rows = await self._database.fetch(
            SQL["get_definitions"], {"tenant_id": tenant_id, "collections": list(collections)}, idempotent=True
        )
        loaded = {row["collection"]: collection_spec_of(row) for row in rows}
        for collection in collections:
            if self._loaded_at.get((tenant_id, collection), asked_at) > asked_at:
                continue  # a later query has already stored a newer result
            self._kept.pop((tenant_id, collection), None)
            self._loaded_at[tenant_id, collection] = asked_at
            if collection in loaded:
                self._kept[tenant_id, collection] = loaded[collection]
        loaded = {name: spec for name, spec in loaded.items() if spec.version}
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        while len(self._loaded_at) > MAX_KEPT:
            self._loaded_at.popitem(last=False)
        return loaded

    async def violations(
        self, tenant_id: str, contents: Sequence[tuple[str, str, str]]
    ) -> list[SchemaViolationError | None]:
        """Return an error for each content that violates its collection's cached JSON Schema, None for the others.

        Each content is its collection, its JSON text, and the location that the error names.
        """
        found: list[SchemaViolationError | None] = [None] * len(contents)
        for collection in {collection for collection, _, _ in contents}:
            schema = self.known(tenant_id, collection).json_schema
            if schema:
                indexes = [index for index, content in enumerate(contents) if content[0] == collection]
                checked = [contents[index][1:] for index in indexes]
                errors = await self.schemas.violations(tenant_id, schema, checked)
                for index, error in zip(indexes, errors, strict=True):
                    found[index] = error
        return found

    async def refuse_stale(self, tenant_id: str, spec: CollectionSpec) -> None:
        """Raise StaleCollectionSpecError if the spec has another version in the database."""
        loaded = await self.load(tenant_id, [spec.collection])
        if loaded.get(spec.collection, CollectionSpec(spec.collection)).version != spec.version:
            raise StaleCollectionSpecError

    async def retry_if_stale(
        self, tenant_id: str, collections: Collection[str], attempt: Callable[[], Awaitable[T]]
    ) -> T:
        """Run `attempt`, and retry it while cached specs are stale or it races another call.

        Raise ContentionError after MAX_ATTEMPTS attempts.
        """
        for _ in range(MAX_ATTEMPTS):
            try:
                return await attempt()
            except StaleCollectionSpecError as stale:
                await self.load(tenant_id, {*collections, *stale.collections})
            except RacedError:
                continue
        raise ContentionError(
            "other calls keep changing the same records or drafts, or declaring their collection; "
            "nothing was written, try again"
        )


def collection_spec_of(row: asyncpg.Record) -> CollectionSpec:
    entries = json.loads(row["fields"])
    fields = {tuple(entry["path"]): FieldType(entry["type"]) for entry in entries}
    orders = tuple(
        tuple(IndexKey(tuple(key["path"]), fields[tuple(key["path"])], key["descending"]) for key in order)
        for order in json.loads(row["orders"])
    )
    return CollectionSpec(
        row["collection"],
        fields,
        orders,
        row["json_schema"],
        row["version"],
        row["created_at"],
        row["updated_at"],
        History(row["history"]),
        frozenset(tuple(entry["path"]) for entry in entries if entry.get("on_type_mismatch") == "REFUSE"),
        tuple(from_json(each) for each in json.loads(row.get("statistics") or "[]")),
        {order_of(order["keys"]): order["order_id"] for order in json.loads(row.get("ready_orders") or "[]")},
        tuple(relation_specs.from_json(each) for each in json.loads(row.get("relations") or "[]")),
        tuple(relation_specs.inverse_of(each) for each in json.loads(row.get("inverses") or "[]")),
        row.get("upstream") or "",
        is_referred_to=bool(row.get("is_referred_to")),
    )


def order_of(keys: Sequence[Mapping[str, Any]]) -> IndexOrder:
    """Return an order from draftline.collection_order.keys."""
    return tuple(IndexKey(tuple(key["path"]), FieldType(key["type"]), key["descending"]) for key in keys)
