"""Collections: declared, read, listed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

from ..domain.content import Limits
from ..domain.cursor import Cursors
from ..domain.definitions import Definition, IndexOrder, IndexState
from ..domain.edits import format_pointer
from ..domain.errors import CollectionConflictError, CollectionNotFoundError, VersionMismatchError
from ..domain.records import Actor
from .content import now
from .definitions import CheckedDefinition, Definitions, compile_schema
from .engine import Database, Transaction
from .indexes import Indexes
from .statements import load

SQL = load("collections")


@dataclass(frozen=True, slots=True)
class StoredCollection:
    definition: Definition
    indexes: Mapping[IndexOrder, IndexState]


class CollectionStore:
    """Declarations, and the indexes that follow from them."""

    def __init__(
        self, database: Database, definitions: Definitions, indexes: Indexes, cursors: Cursors, limits: Limits
    ) -> None:
        self._database = database
        self._definitions = definitions
        self._indexes = indexes
        self._cursors = cursors
        self._limits = limits

    async def put(
        self, actor: Actor, definition: Definition, *, expected_version: int | None, validate_only: bool
    ) -> StoredCollection:
        """Stores a declaration and brings its indexes about.

        VersionMismatchError; CollectionConflictError if a stored text is too long for a wanted index;
        InvalidFieldError for a JSON Schema that is none.
        """
        if definition.json_schema:
            compile_schema(definition.json_schema)
        await self._refuse_overlong_text(actor, definition)
        stored = await self._store(actor, definition, expected_version, validate_only)
        if validate_only:
            return StoredCollection(stored, dict.fromkeys(stored.indexes(), IndexState.BUILDING))
        # A caller that goes away does not stop the build: the next one finds it done.
        await asyncio.shield(self._indexes.reconcile(definition.collection))
        return await self._with_indexes(stored)

    async def get(self, actor: Actor, collection: str) -> StoredCollection:
        loaded = await self._definitions.load(actor.tenant_id, [collection])
        if collection not in loaded:
            raise CollectionNotFoundError(f"collection {collection!r} was never declared", collection=collection)
        return await self._with_indexes(loaded[collection].definition)

    async def page(self, actor: Actor, page_size: int, page_token: str) -> tuple[list[StoredCollection], str]:
        """Some collections by name, declared or not, and the token of the next page."""
        query = ["collections", actor.tenant_id]
        after = self._cursors.open(query, page_token)[0] if page_token else ""
        rows = await self._database.fetch(
            SQL["list_collections"],
            {"tenant_id": actor.tenant_id, "after": after, "page_size": page_size + 1},
            read_only=True,
        )
        names = [row["collection"] for row in rows]
        loaded = await self._definitions.load(actor.tenant_id, names[:page_size])
        found = [
            await self._with_indexes(loaded.get(name, CheckedDefinition(Definition(name))).definition)
            for name in names[:page_size]
        ]
        more = len(names) > page_size
        return found, self._cursors.seal(query, [names[page_size - 1]]) if more else ""

    async def _store(
        self, actor: Actor, definition: Definition, expected_version: int | None, validate_only: bool
    ) -> Definition:
        values: dict[str, object] = {
            "tenant_id": actor.tenant_id,
            "collection": definition.collection,
            **_as_json(definition),
            "json_schema": definition.json_schema,
            "expected_version": expected_version,
            "now": now(),
        }

        async def work(transaction: Transaction) -> None:
            row = (await transaction.fetch(SQL["put_definition"], values))[0]
            before = row["version_before"] or 0
            if expected_version is not None and expected_version != before:
                raise VersionMismatchError(
                    f"collection {definition.collection!r} is at version {before}", current_version=before
                )
            if validate_only:
                transaction.roll_back()

        await self._database.transact(work)
        loaded = await self._definitions.load(actor.tenant_id, [definition.collection])
        return definition if validate_only else loaded[definition.collection].definition

    async def _refuse_overlong_text(self, actor: Actor, definition: Definition) -> None:
        for path in definition.indexed_text():
            limit = self._limits.max_indexed_text_bytes
            values: dict[str, object] = {
                "tenant_id": actor.tenant_id,
                "collection": definition.collection,
                "path": list(path),
                "max_indexed_text_bytes": limit,
            }
            rows = await self._database.fetch(SQL["overlong_text"], values, read_only=True)
            if rows:
                pointer, record_id = format_pointer(path), rows[0]["record_id"]
                raise CollectionConflictError(
                    f"{pointer} cannot be declared as text: that of record {record_id!r} is over {limit} bytes",
                    path=pointer,
                    record_id=record_id,
                )

    async def _with_indexes(self, definition: Definition) -> StoredCollection:
        return StoredCollection(definition, await self._indexes.states(definition))


def _as_json(definition: Definition) -> dict[str, object]:
    fields = [{"path": path, "type": type_} for path, type_ in definition.fields.items()]
    orders = [[{"path": key.path, "descending": key.descending} for key in order] for order in definition.orders]
    return {
        "fields": json.dumps(fields),
        "orders": json.dumps(orders),
        "indexed_text": json.dumps(definition.indexed_text()),
    }
