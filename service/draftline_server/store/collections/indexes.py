"""The indexes that declarations ask for: partial expression indexes, built concurrently, on
records and, in the same orders, on the merges of drafts.

Invariants:
- An index belongs to a collection's name and an order, whatever the tenants: those that
  declare the same share it. Its name is a digest of both.
- One process at a time builds or drops (an advisory lock), so a half-built index that is
  found under the lock belongs to nobody and is built anew.
- An index never makes a write fail: its expressions are NULL for what they cannot hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import ColumnElement, Index, MetaData, Table
from sqlalchemy.schema import CreateIndex, DropIndex, ExecutableDDLElement

from ...domain.collections import CollectionSpec, IndexKey, IndexOrder, IndexState
from ...domain.filters.ast import FieldType
from ..database import Database
from ..fields import is_place, typed_field
from ..statements import DIALECT, load
from ..tables import draft, record
from ..transaction import Rows, Session
from .cache import collection_spec_of

SQL = load("collections")
LOCK_POLL_S = 0.2
TABLES = (record, draft)  # one index of each for every order


class Indexes:
    """Brings the indexes in the database to what the declarations ask for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()

    async def states(self, definitions: Sequence[CollectionSpec]) -> list[Mapping[IndexOrder, IndexState]]:
        """How far each index of each declaration is."""
        if not any(definition.fields for definition in definitions):
            return [{} for _ in definitions]
        rows = await self._database.fetch(SQL["present_indexes"], {}, idempotent=True)
        present = {row["name"]: row["valid"] for row in rows}
        return [
            {order: _state(present, definition.collection, order) for order in definition.indexes()}
            for definition in definitions
        ]

    async def unready(self) -> Mapping[str, tuple[str, IndexState]]:
        """The indexes in the database that declarations of any tenant ask for and that are not ready: of which
        collection's name, and how far."""
        wanted = _wanted(await self._database.fetch(SQL["all_definitions"], {}, idempotent=True))
        rows = await self._database.fetch(SQL["present_indexes"], {}, idempotent=True)
        valid = {row["name"]: row["valid"] for row in rows}
        return {
            name: (owner, IndexState.INVALID if name in valid else IndexState.BUILDING)
            for name, (_, owner, _) in wanted.items()
            if not valid.get(name)
        }

    async def reconcile(self, collection: str | None = None) -> None:
        """Drops what nobody asks for or is half built; builds what is missing of one collection name, or of all.

        DatabaseUnavailableError if the connection is lost, which leaves the rest to the next time.
        """
        # In this process they wait here, and not each with a connection of the pool.
        async with self._turn:
            await self._database.translated(lambda: self._reconcile_alone(collection))

    async def _reconcile_alone(self, collection: str | None) -> None:
        async with self._database.session() as session:
            while not (await session.fetch(SQL["try_lock_indexes"], {}))[0]["locked"]:  # noqa: ASYNC110
                await asyncio.sleep(LOCK_POLL_S)
            try:
                await self._reconcile(session, collection)
            finally:
                await session.fetch(SQL["unlock_indexes"], {})

    async def _reconcile(self, session: Session, collection: str | None) -> None:
        log = structlog.get_logger()
        wanted = _wanted(await session.fetch(SQL["all_definitions"], {}))
        rows = await session.fetch(SQL["present_indexes"], {})
        valid = {row["name"] for row in rows if row["valid"]}
        for row in rows:
            if not (row["valid"] and row["name"] in wanted):
                await session.execute(_ddl(DropIndex(_named(row["name"]), if_exists=True)))
                log.info("index_dropped", index=row["name"])
        for name, (table, owner, order) in wanted.items():
            if name not in valid and collection in (owner, None):
                log.info("index_build_started", index=name, collection=owner)
                await session.execute(_ddl(CreateIndex(_index(table, owner, order))))
                log.info("index_built", index=name, collection=owner)


def _wanted(rows: Rows) -> dict[str, tuple[Table, str, IndexOrder]]:
    wanted = {}
    for row in rows:
        definition = collection_spec_of(row)
        for order in definition.indexes():
            for table in TABLES:
                name = index_name(table, definition.collection, order)
                wanted[name] = (table, definition.collection, order)
    return wanted


def _state(present: Mapping[str, bool], collection: str, order: IndexOrder) -> IndexState:
    found = [present.get(index_name(table, collection, order)) for table in TABLES]
    if False in found:
        return IndexState.INVALID
    return IndexState.BUILDING if None in found else IndexState.READY


def index_name(table: Table, collection: str, order: IndexOrder) -> str:
    """Under PostgreSQL's 63 bytes, whatever the names it stands for."""
    digest = hashlib.sha256(json.dumps([collection, _purpose(order)]).encode()).hexdigest()
    return f"{table.name}_order_{digest[:32]}"


def _purpose(order: IndexOrder) -> Sequence[object]:
    return [[list(key.path), key.type, key.descending, *_meaning(key)] for key in order]


def _meaning(key: IndexKey) -> Sequence[str]:
    """Return what tells an index from one of the same order that an earlier version made of other expressions.

    With another name that one is dropped and this one built when the service starts.
    """
    instants = ["instants"] if key.type is FieldType.TIMESTAMP else []
    return [*instants, "keys"] if any(map(is_place, key.path[1:])) else instants


def _index(declared: Table, collection: str, order: IndexOrder) -> Index:
    """Of records, the live ones in order; of drafts, each user's in the order of their merges."""
    # On a copy: an index is remembered by its table, and those of declarations are none of the schema's.
    table = declared.to_metadata(MetaData())
    if declared is record:
        leading, content = [table.c.tenant_id], table.c.content
        predicate: ColumnElement[bool] = (table.c.collection == collection) & table.c.deleted_at.is_(None)
    else:
        leading, content = [table.c.tenant_id, table.c.user_id], table.c.merged
        predicate = table.c.collection == collection
    expressions = []
    for key in order:
        expression = typed_field(content, key.path, key.type)
        expressions.append((expression.desc() if key.descending else expression.asc()).nulls_last())
    return Index(
        index_name(table, collection, order),
        *leading,
        *expressions,
        table.c.record_id,
        postgresql_where=predicate,
        postgresql_concurrently=True,
        _table=table,
    )


def _named(name: str) -> Index:
    table = record.to_metadata(MetaData())
    return Index(name, table.c.tenant_id, postgresql_concurrently=True)


def _ddl(element: ExecutableDDLElement) -> str:
    return str(element.compile(dialect=DIALECT))
