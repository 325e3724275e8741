"""The expression indexes that earlier versions built for declared orders, which order entries replace.

Lists use the index of an order until its entries are complete for every tenant that declares it. Then it is dropped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import structlog
from sqlalchemy import Index, MetaData, Table
from sqlalchemy.schema import DropIndex

from ...domain.collections import IndexKey, IndexOrder
from ...domain.filters.ast import FieldType
from ..fields import reads_as_index
from ..statements import DIALECT, load
from ..tables import draft, record
from ..transaction import DedicatedConnection
from .cache import order_of

SQL = load("orders")


async def drop_unneeded(connection: DedicatedConnection) -> None:
    """Drop the indexes whose orders have complete entries, or are no longer declared, without blocking writes."""
    present = await connection.fetch(SQL["old_indexes"], {})
    if not present:
        return
    rows = await connection.fetch(SQL["orders_being_built"], {})
    needed = {
        index_name(table, row["collection"], order_of(json.loads(row["keys"])))
        for row in rows
        for table in (record, draft)
    }
    for row in present:
        if row["name"] not in needed:
            index = Index(row["name"], record.to_metadata(MetaData()).c.tenant_id, postgresql_concurrently=True)
            await connection.execute(str(DropIndex(index, if_exists=True).compile(dialect=DIALECT)))
            structlog.get_logger().info("index_dropped", index=row["name"])


def index_name(table: Table, collection: str, order: IndexOrder) -> str:
    """Return the name that the index of an order had."""
    digest = hashlib.sha256(json.dumps([collection, _purpose(order)]).encode()).hexdigest()
    return f"{table.name}_order_{digest[:32]}"


def _purpose(order: IndexOrder) -> Sequence[object]:
    return [[list(key.path), key.type, key.descending, *_meaning(key)] for key in order]


def _meaning(key: IndexKey) -> Sequence[str]:
    """Return markers that distinguish the expressions from those of still earlier versions."""
    instants = ["instants"] if key.type is FieldType.TIMESTAMP else []
    return [*instants, "keys"] if any(map(reads_as_index, key.path[1:])) else instants
