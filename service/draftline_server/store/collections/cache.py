"""Declarations of collections, kept in memory.

A copy may be out of date: every write tells the database which version of the
declaration it was checked against, and is refused as stale there if another one
holds. A collection that is not in memory is taken for undeclared until then, so
that the first write of an undeclared collection needs no look-up.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

import asyncpg

from ...domain.changes import History
from ...domain.collections import CollectionSpec, IndexKey
from ...domain.errors import ContentionError, SchemaViolationError
from ...domain.filters.ast import FieldType
from ..database import Database
from ..driver_errors import RacedError
from ..json_schema.pool import Schemas
from ..statements import load

SQL = load("collections")
T = TypeVar("T")

MAX_KEPT = 10_000  # definitions in memory, of all tenants
READ_AGE_S = 1.0  # how old a declaration may be that a read is typed by
MAX_ATTEMPTS = 5  # of a call that finds each time that another one came between


class StaleCollectionSpecError(Exception):
    """A write was checked against a declaration that no longer holds; nothing was written."""


class CollectionSpecs:
    """The declarations that this process has seen, by tenant and collection."""

    def __init__(self, database: Database, schemas: Schemas) -> None:
        self._database = database
        self.schemas = schemas
        self._kept: OrderedDict[tuple[str, str], CollectionSpec] = OrderedDict()
        self._loaded_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def known(self, tenant_id: str, collection: str) -> CollectionSpec:
        """What memory holds; the empty definition where it holds nothing."""
        return self._kept.get((tenant_id, collection)) or CollectionSpec(collection)

    async def current(self, tenant_id: str, collection: str) -> CollectionSpec:
        """The declaration for a read: at most READ_AGE_S old."""
        key = (tenant_id, collection)
        if time.monotonic() - self._loaded_at.get(key, -READ_AGE_S) >= READ_AGE_S:
            await self.load(tenant_id, [collection])
        return self.known(tenant_id, collection)

    async def load(self, tenant_id: str, collections: Collection[str]) -> Mapping[str, CollectionSpec]:
        """Reads declarations anew; those that do not exist are missing from the answer."""
        asked_at = time.monotonic()
        rows = await self._database.fetch(
            SQL["get_definitions"], {"tenant_id": tenant_id, "collections": list(collections)}, idempotent=True
        )
        loaded = {row["collection"]: collection_spec_of(row) for row in rows}
        for collection in collections:
            if self._loaded_at.get((tenant_id, collection), asked_at) > asked_at:
                continue  # somebody asked later, and was answered sooner
            self._kept.pop((tenant_id, collection), None)
            self._loaded_at[tenant_id, collection] = asked_at
            if collection in loaded:
                self._kept[tenant_id, collection] = loaded[collection]
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        while len(self._loaded_at) > MAX_KEPT:
            self._loaded_at.popitem(last=False)
        return loaded

    async def violations(
        self, tenant_id: str, contents: Sequence[tuple[str, str, str]]
    ) -> list[SchemaViolationError | None]:
        """What breaks the JSON Schemas of collections as they are in memory.

        Of each content: its collection, its JSON text, and where it is from, for the error.
        """
        found: list[SchemaViolationError | None] = [None] * len(contents)
        for collection in {collection for collection, _, _ in contents}:
            schema = self.known(tenant_id, collection).json_schema
            if schema:
                places = [place for place, content in enumerate(contents) if content[0] == collection]
                checked = [contents[place][1:] for place in places]
                errors = await self.schemas.violations(tenant_id, schema, checked)
                for place, error in zip(places, errors, strict=True):
                    found[place] = error
        return found

    async def refuse_stale(self, tenant_id: str, definition: CollectionSpec) -> None:
        """StaleDefinitionError if the declaration is another one by now."""
        loaded = await self.load(tenant_id, [definition.collection])
        if loaded.get(definition.collection, CollectionSpec(definition.collection)).version != definition.version:
            raise StaleCollectionSpecError

    async def retry_if_stale(
        self, tenant_id: str, collections: Collection[str], attempt: Callable[[], Awaitable[T]]
    ) -> T:
        """Runs `attempt` until it neither finds the declarations in memory stale nor races another call."""
        for _ in range(MAX_ATTEMPTS):
            try:
                return await attempt()
            except StaleCollectionSpecError:
                await self.load(tenant_id, collections)
            except RacedError:
                continue
        raise ContentionError(
            "the collection's declaration keeps changing, or the record is created and removed over and over; "
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
    )
