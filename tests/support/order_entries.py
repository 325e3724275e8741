"""Order entries of a test's tenant, written in one go instead of by the service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from draftline_server.domain.collections import IndexKey
from draftline_server.store.statements import Statement

from .tenant_stores import COLLECTION, World

_ADD_ORDER = Statement(
    "add_order",
    """INSERT INTO draftline.collection_order (tenant_id, collection, keys, fields, state, created_at)
    SELECT $1, $2, $3::text::jsonb, $4::text[], 'READY', now()
    WHERE NOT EXISTS (SELECT FROM draftline.collection_order
        WHERE tenant_id = $1 AND collection = $2 AND keys = $3::text::jsonb AND state = 'READY')""",
    ("tenant_id", "collection", "keys", "fields"),
)
_FILLS = [
    """INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
    SELECT $1, $2, o.order_id, draftline.order_key(r.content, o.keys), r.record_id
    FROM draftline.record AS r JOIN draftline.collection_order AS o
        ON o.tenant_id = r.tenant_id AND o.collection = r.collection
    WHERE r.tenant_id = $1 AND r.collection = $2 AND r.deleted_at IS NULL
    ON CONFLICT DO NOTHING""",
    """INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
    SELECT $1, d.user_id, $2, o.order_id, draftline.order_key(d.merged, o.keys), d.record_id
    FROM draftline.draft AS d JOIN draftline.collection_order AS o
        ON o.tenant_id = d.tenant_id AND o.collection = d.collection
    WHERE d.tenant_id = $1 AND d.collection = $2
    ON CONFLICT DO NOTHING""",
]


async def keep_entries(world: World, orders: Iterable[Sequence[IndexKey]]) -> None:
    """Make orders READY, with an entry of each record and each draft that exists."""
    key: dict[str, object] = {"tenant_id": world.tenant_id, "collection": COLLECTION}
    for order in orders:
        keys = [{"path": each.path, "type": each.type, "descending": each.descending} for each in order]
        fields = [each.path[0] for each in order]
        await world.database.fetch(_ADD_ORDER, {**key, "keys": json.dumps(keys), "fields": fields})
    for fill in _FILLS:
        await world.database.fetch(Statement("fill_entries", fill, ("tenant_id", "collection")), key)
    await world.specs.load(world.tenant_id, [COLLECTION])


async def drop_orders(world: World) -> None:
    """Mark all orders as DROPPING and delete their entries, behind the back of the cached specs."""
    key: dict[str, object] = {"tenant_id": world.tenant_id}
    for statement in (
        "UPDATE draftline.collection_order SET state = 'DROPPING' WHERE tenant_id = $1",
        "DELETE FROM draftline.order_entry WHERE tenant_id = $1",
        "DELETE FROM draftline.draft_order_entry WHERE tenant_id = $1",
    ):
        await world.database.fetch(Statement("drop_orders", statement, ("tenant_id",)), key)
