"""The indexes that specs require: partial expression indexes, built concurrently, on records and, in the same
orders, on the merges of drafts.

Invariants:
- An index belongs to a collection's name and an order, not to a tenant: tenants with the same spec share it. Its
  name is a digest of both.
- One process at a time builds or drops indexes (an advisory lock), so an invalid index that is found under the lock is
  left over from an interrupted build, and is rebuilt.
- An index never makes a write fail: its expressions are NULL for values that they cannot hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial

import structlog
from sqlalchemy import ColumnElement, Index, MetaData, Table
from sqlalchemy.schema import CreateIndex, DropIndex, ExecutableDDLElement

from ...domain.collections import CollectionSpec, IndexKey, IndexOrder, IndexState
from ...domain.filters.ast import FieldType
from ..advisory_locks import AdvisoryLock
from ..database import Database
from ..fields import is_place, typed_field
from ..leases import Leases
from ..statements import DIALECT, load
from ..tables import draft, record
from ..transaction import DedicatedConnection, Rows
from .cache import collection_spec_of

SQL = load("collections")
TABLES = (record, draft)  # each has one index for every order


class Indexes:
    """Creates and drops indexes in the database as the specs require."""

    def __init__(self, database: Database, leases: Leases | None = None) -> None:
        self._database = database
        self._leases = leases or Leases(database)

    async def states(self, specs: Sequence[CollectionSpec]) -> list[Mapping[IndexOrder, IndexState]]:
        """Return the state of each index of each spec."""
        if not any(spec.fields for spec in specs):
            return [{} for _ in specs]
        rows = await self._database.fetch(SQL["present_indexes"], {}, idempotent=True)
        present = {row["name"]: row["valid"] for row in rows}
        return [{order: _state(present, spec.collection, order) for order in spec.indexes()} for spec in specs]

    async def unready(self) -> Mapping[str, tuple[str, IndexState]]:
        """Return the required indexes, of all tenants, that are not ready: each one's collection name and state."""
        wanted = _wanted(await self._database.fetch(SQL["all_definitions"], {}, idempotent=True))
        rows = await self._database.fetch(SQL["present_indexes"], {}, idempotent=True)
        valid = {row["name"]: row["valid"] for row in rows}
        return {
            name: (owner, IndexState.INVALID if name in valid else IndexState.BUILDING)
            for name, (_, owner, _) in wanted.items()
            if not valid.get(name)
        }

    async def reconcile(self, collection: str | None = None) -> None:
        """Drop indexes that no spec requires or that are invalid; build the missing ones.

        `collection`: build only the indexes of this collection name; None: of all. Raise DatabaseUnavailableError if
        the connection is lost; the next call does the rest.
        """
        await self._leases.run(AdvisoryLock.INDEXES, partial(self.reconcile_by, collection=collection), waits=True)

    async def reconcile_by(self, connection: DedicatedConnection, collection: str | None = None) -> None:
        """Do the same over a connection that holds the lease."""
        log = structlog.get_logger()
        wanted = _wanted(await connection.fetch(SQL["all_definitions"], {}))
        rows = await connection.fetch(SQL["present_indexes"], {})
        valid = {row["name"] for row in rows if row["valid"]}
        for row in rows:
            if not (row["valid"] and row["name"] in wanted):
                await connection.execute(_ddl(DropIndex(_named(row["name"]), if_exists=True)))
                log.info("index_dropped", index=row["name"])
        for name, (table, owner, order) in wanted.items():
            if name not in valid and collection in (owner, None):
                log.info("index_build_started", index=name, collection=owner)
                await connection.execute(_ddl(CreateIndex(_index(table, owner, order))))
                log.info("index_built", index=name, collection=owner)


def _wanted(rows: Rows) -> dict[str, tuple[Table, str, IndexOrder]]:
    wanted = {}
    for row in rows:
        spec = collection_spec_of(row)
        for order in spec.indexes():
            for table in TABLES:
                name = index_name(table, spec.collection, order)
                wanted[name] = (table, spec.collection, order)
    return wanted


def _state(present: Mapping[str, bool], collection: str, order: IndexOrder) -> IndexState:
    found = [present.get(index_name(table, collection, order)) for table in TABLES]
    if False in found:
        return IndexState.INVALID
    return IndexState.BUILDING if None in found else IndexState.READY


def index_name(table: Table, collection: str, order: IndexOrder) -> str:
    """Return the name of an index, within PostgreSQL's limit of 63 bytes for any collection and order."""
    digest = hashlib.sha256(json.dumps([collection, _purpose(order)]).encode()).hexdigest()
    return f"{table.name}_order_{digest[:32]}"


def _purpose(order: IndexOrder) -> Sequence[object]:
    return [[list(key.path), key.type, key.descending, *_meaning(key)] for key in order]


def _meaning(key: IndexKey) -> Sequence[str]:
    """Return markers for the index name that distinguish the expressions from those of earlier versions of the service.

    Because the name differs, the old index is dropped and the new one built when the service starts.
    """
    instants = ["instants"] if key.type is FieldType.TIMESTAMP else []
    return [*instants, "keys"] if any(map(is_place, key.path[1:])) else instants


def _index(declared: Table, collection: str, order: IndexOrder) -> Index:
    """Return the index of a table: live records in order, or each user's drafts in the order of their merges."""
    # Use a copy: SQLAlchemy registers an index with its table, and these indexes are not part of the schema.
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
