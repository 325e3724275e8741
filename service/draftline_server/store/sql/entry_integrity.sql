-- name: check_record_entries
-- Return the next records of all tenants, each with the ready orders in which its entry is missing; for the checker only.
WITH page AS MATERIALIZED (
    SELECT r.tenant_id, r.collection, r.record_id, r.content, r.deleted_at IS NULL AS is_live
    FROM draftline.record AS r
    WHERE (r.tenant_id, r.collection, r.record_id)
        > (CAST(:tenant_id AS text), CAST(:collection AS text), CAST(:record_id AS text))
    ORDER BY r.tenant_id, r.collection, r.record_id
    LIMIT :limit
), expected AS MATERIALIZED (
    SELECT p.tenant_id, p.collection, p.record_id, o.order_id, k.key
    FROM page AS p
    JOIN draftline.collection_order AS o
        ON o.tenant_id = p.tenant_id AND o.collection = p.collection AND o.state = 'READY'
    CROSS JOIN LATERAL draftline.entry_keys(p.content, o.keys) AS k (key)
    WHERE p.is_live
)
SELECT '' AS user_id, p.tenant_id, p.collection, p.record_id, ARRAY(
    SELECT DISTINCT x.order_id
    FROM expected AS x
    WHERE x.tenant_id = p.tenant_id AND x.collection = p.collection AND x.record_id = p.record_id
      AND draftline.order_entry_fits(x.key, x.tenant_id || x.collection || x.record_id)
      AND NOT EXISTS (SELECT FROM draftline.order_entry AS e
          WHERE e.tenant_id = x.tenant_id AND e.collection = x.collection AND e.order_id = x.order_id
            AND e.key = x.key AND e.record_id = x.record_id)
    ORDER BY x.order_id) AS wrong
FROM page AS p
ORDER BY p.tenant_id, p.collection, p.record_id

-- name: check_draft_entries
-- The same of the drafts of all tenants.
WITH page AS MATERIALIZED (
    SELECT d.tenant_id, d.user_id, d.collection, d.record_id, d.merged
    FROM draftline.draft AS d
    WHERE (d.tenant_id, d.user_id, d.collection, d.record_id)
        > (CAST(:tenant_id AS text), CAST(:user_id AS text), CAST(:collection AS text), CAST(:record_id AS text))
    ORDER BY d.tenant_id, d.user_id, d.collection, d.record_id
    LIMIT :limit
), expected AS MATERIALIZED (
    SELECT p.tenant_id, p.user_id, p.collection, p.record_id, o.order_id, k.key
    FROM page AS p
    JOIN draftline.collection_order AS o
        ON o.tenant_id = p.tenant_id AND o.collection = p.collection AND o.state = 'READY'
    CROSS JOIN LATERAL draftline.entry_keys(p.merged, o.keys) AS k (key)
)
SELECT p.user_id, p.tenant_id, p.collection, p.record_id, ARRAY(
    SELECT DISTINCT x.order_id
    FROM expected AS x
    WHERE x.tenant_id = p.tenant_id AND x.user_id = p.user_id AND x.collection = p.collection
      AND x.record_id = p.record_id
      AND draftline.order_entry_fits(x.key, x.tenant_id || x.user_id || x.collection || x.record_id)
      AND NOT EXISTS (SELECT FROM draftline.draft_order_entry AS e
          WHERE e.tenant_id = x.tenant_id AND e.user_id = x.user_id AND e.collection = x.collection
            AND e.order_id = x.order_id AND e.key = x.key AND e.record_id = x.record_id)
    ORDER BY x.order_id) AS wrong
FROM page AS p
ORDER BY p.tenant_id, p.user_id, p.collection, p.record_id

-- name: check_stored_entries
-- Return the next entries of records of all tenants, and whether each is unexpected: not that of a live record. Those of an
-- order that is being deleted are expected, and those that a sorted build has still to verify.
SELECT '' AS user_id, e.tenant_id, e.collection, e.order_id, e.key, e.record_id,
    coalesce(o.state <> 'DELETING' AND o.begun_to IS NULL, true)
        AND (o.order_id IS NULL OR r.record_id IS NULL OR r.deleted_at IS NOT NULL
        OR e.key NOT IN (SELECT draftline.entry_keys(r.content, o.keys))) AS is_unexpected
FROM draftline.order_entry AS e
LEFT JOIN draftline.collection_order AS o
    ON o.tenant_id = e.tenant_id AND o.collection = e.collection AND o.order_id = e.order_id
LEFT JOIN draftline.record AS r
    ON r.tenant_id = e.tenant_id AND r.collection = e.collection AND r.record_id = e.record_id
WHERE (e.tenant_id, e.collection, e.order_id, e.key, e.record_id)
    > (CAST(:tenant_id AS text), CAST(:collection AS text), CAST(:order_id AS bigint), CAST(:key AS bytea),
        CAST(:record_id AS text))
ORDER BY e.tenant_id, e.collection, e.order_id, e.key, e.record_id
LIMIT :limit

-- name: check_stored_draft_entries
-- The same of the entries of drafts.
SELECT e.user_id, e.tenant_id, e.collection, e.order_id, e.key, e.record_id,
    coalesce(o.state <> 'DELETING', true) AND (o.order_id IS NULL OR d.record_id IS NULL
        OR e.key NOT IN (SELECT draftline.entry_keys(d.merged, o.keys))) AS is_unexpected
FROM draftline.draft_order_entry AS e
LEFT JOIN draftline.collection_order AS o
    ON o.tenant_id = e.tenant_id AND o.collection = e.collection AND o.order_id = e.order_id
LEFT JOIN draftline.draft AS d
    ON d.tenant_id = e.tenant_id AND d.user_id = e.user_id AND d.collection = e.collection AND d.record_id = e.record_id
WHERE (e.tenant_id, e.user_id, e.collection, e.order_id, e.key, e.record_id)
    > (CAST(:tenant_id AS text), CAST(:user_id AS text), CAST(:collection AS text), CAST(:order_id AS bigint),
        CAST(:key AS bytea), CAST(:record_id AS text))
ORDER BY e.tenant_id, e.user_id, e.collection, e.order_id, e.key, e.record_id
LIMIT :limit

-- name: lock_entry
-- Lock the record of an entry, or the user's draft, so that no write moves its entries meanwhile.
SELECT r.record_id FROM draftline.record AS r
WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = :record_id
FOR UPDATE

-- name: lock_draft_entry
-- The same of a draft.
SELECT d.record_id FROM draftline.draft AS d
WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection AND d.record_id = :record_id
FOR UPDATE

-- name: remove_entry
-- Delete an entry that is not that of the record, which the transaction has locked.
DELETE FROM draftline.order_entry AS e
WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.order_id = :order_id AND e.key = :key
  AND e.record_id = :record_id AND NOT EXISTS (
      SELECT FROM draftline.collection_order AS o
      JOIN draftline.record AS r ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = :record_id
      WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = :order_id
        AND r.deleted_at IS NULL AND e.key IN (SELECT draftline.entry_keys(r.content, o.keys)))
RETURNING e.record_id

-- name: remove_draft_entry
-- The same of a draft.
DELETE FROM draftline.draft_order_entry AS e
WHERE e.tenant_id = :tenant_id AND e.user_id = :user_id AND e.collection = :collection AND e.order_id = :order_id
  AND e.key = :key AND e.record_id = :record_id AND NOT EXISTS (
      SELECT FROM draftline.collection_order AS o
      JOIN draftline.draft AS d ON d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
          AND d.record_id = :record_id
      WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = :order_id
        AND e.key IN (SELECT draftline.entry_keys(d.merged, o.keys)))
RETURNING e.record_id

-- name: add_entry
-- Add the entry of the record in an order, if it is missing.
INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
SELECT :tenant_id, :collection, o.order_id, k.key, r.record_id
FROM draftline.collection_order AS o
JOIN draftline.record AS r ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = :record_id
CROSS JOIN LATERAL draftline.entry_keys(r.content, o.keys) AS k (key)
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = :order_id AND o.state <> 'DELETING'
  AND r.deleted_at IS NULL
  AND draftline.order_entry_fits(k.key, r.tenant_id || r.collection || r.record_id)
ON CONFLICT DO NOTHING
RETURNING record_id

-- name: add_draft_entry
-- The same of a draft.
INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
SELECT :tenant_id, :user_id, :collection, o.order_id, k.key, d.record_id
FROM draftline.collection_order AS o
JOIN draftline.draft AS d ON d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
    AND d.record_id = :record_id
CROSS JOIN LATERAL draftline.entry_keys(d.merged, o.keys) AS k (key)
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = :order_id AND o.state <> 'DELETING'
  AND draftline.order_entry_fits(k.key,
      d.tenant_id || d.user_id || d.collection || d.record_id)
ON CONFLICT DO NOTHING
RETURNING record_id
