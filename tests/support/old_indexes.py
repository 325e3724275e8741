"""The expression indexes of declared orders, as versions before order entries built them."""

from __future__ import annotations

import json

import asyncpg
from draftline_server.domain.collections import IndexOrder
from draftline_server.store.collections.cache import order_of
from draftline_server.store.collections.old_indexes import index_name
from draftline_server.store.fields import typed_field
from draftline_server.store.statements import DIALECT
from draftline_server.store.tables import draft, record
from sqlalchemy import Index, MetaData, Table
from sqlalchemy.schema import CreateIndex


async def build_old_indexes(connection: asyncpg.Connection, collection: str, orders: list[IndexOrder]) -> None:
    """Build the index of each order, on records and on drafts."""
    for order in orders:
        for table in (record, draft):
            index = _index(table, collection, order)
            await connection.execute(str(CreateIndex(index).compile(dialect=DIALECT)))


async def old_index_names(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'draftline' AND tablename IN ('record', 'draft')"
        " AND indexname ~ '_order_' ORDER BY 1"
    )
    return [row[0] for row in rows]


def _index(declared: Table, collection: str, order: IndexOrder) -> Index:
    table = declared.to_metadata(MetaData())
    leading, content = [table.c.tenant_id], table.c.get("content", table.c.get("merged"))
    predicate = table.c.collection == collection
    if declared is record:
        predicate &= table.c.deleted_at.is_(None)
    else:
        leading.append(table.c.user_id)
    keys = [typed_field(content, key.path, key.type) for key in order]
    expressions = [
        (each.desc() if key.descending else each.asc()).nulls_last() for each, key in zip(keys, order, strict=True)
    ]
    return Index(
        index_name(declared, collection, order), *leading, *expressions, table.c.record_id,
        postgresql_where=predicate, _table=table,
    )  # fmt: skip


def orders_of(keys: list[str]) -> list[IndexOrder]:
    """Return orders from texts of draftline.collection_order.keys."""
    return [order_of(json.loads(text)) for text in keys]
