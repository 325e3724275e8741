"""The entries of a tenant's orders compared with the contents that they stand for."""

from __future__ import annotations

from typing import Any

from draftline_server.store.database import Database
from draftline_server.store.statements import Statement

_WRONG = """
WITH orders AS (SELECT * FROM draftline.collection_order WHERE tenant_id = $1 AND state <> 'DELETING'),
expected AS (
    SELECT '' AS user_id, o.collection, o.order_id, k.key, r.record_id
    FROM orders AS o JOIN draftline.record AS r ON r.tenant_id = $1 AND r.collection = o.collection
    CROSS JOIN LATERAL draftline.entry_keys(r.content, o.keys) AS k (key)
    WHERE r.deleted_at IS NULL
    UNION ALL
    SELECT d.user_id, o.collection, o.order_id, k.key, d.record_id
    FROM orders AS o JOIN draftline.draft AS d ON d.tenant_id = $1 AND d.collection = o.collection
    CROSS JOIN LATERAL draftline.entry_keys(d.merged, o.keys) AS k (key)
), fitting AS (
    SELECT * FROM expected AS e
    WHERE draftline.order_entry_fits(e.key, $1 || e.user_id || e.collection || e.record_id)
), stored AS (
    SELECT '' AS user_id, collection, order_id, key, record_id FROM draftline.order_entry WHERE tenant_id = $1
    UNION ALL
    SELECT user_id, collection, order_id, key, record_id FROM draftline.draft_order_entry WHERE tenant_id = $1
)
SELECT 'missing' AS problem, m.* FROM (SELECT * FROM fitting EXCEPT SELECT * FROM stored) AS m
UNION ALL
SELECT 'unexpected', u.* FROM (SELECT * FROM stored EXCEPT SELECT * FROM fitting) AS u
"""


async def wrong_entries(database: Database, tenant_id: str) -> list[tuple[Any, ...]]:
    """Return the entries that are missing or unexpected, of records (without a user) and of drafts."""
    return [tuple(row) for row in await database.fetch(Statement("wrong", _WRONG, ("t",)), {"t": tenant_id})]


async def entry_count(database: Database, tenant_id: str) -> int:
    sql = """SELECT (SELECT count(*) FROM draftline.order_entry WHERE tenant_id = $1)
        + (SELECT count(*) FROM draftline.draft_order_entry WHERE tenant_id = $1) AS count"""
    return int((await database.fetch(Statement("count", sql, ("t",)), {"t": tenant_id}))[0]["count"])


async def order_states(database: Database, tenant_id: str) -> list[str]:
    sql = "SELECT state FROM draftline.collection_order WHERE tenant_id = $1 ORDER BY order_id"
    return [row["state"] for row in await database.fetch(Statement("states", sql, ("t",)), {"t": tenant_id})]
