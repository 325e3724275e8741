-- name: put_orders
-- Make the orders of a collection those that its spec requires, after put_definition. New ones are to be built, and those
-- that are no longer required are to be deleted.
WITH required AS MATERIALIZED (
    SELECT o.keys FROM draftline.collection AS c, draftline.declared_orders(c.fields, c.orders) AS o (keys)
    WHERE c.tenant_id = :tenant_id AND c.collection = :collection
  UNION ALL
    SELECT o.keys FROM draftline.collection AS c, draftline.relation_orders(c.relations) AS o (keys)
    WHERE c.tenant_id = :tenant_id AND c.collection = :collection
), dropped AS (
    UPDATE draftline.collection_order AS o
    SET state = 'DROPPING', dropped_at = :now
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state IN ('BUILDING', 'READY')
      AND o.keys NOT IN (SELECT keys FROM required)
)
INSERT INTO draftline.collection_order (tenant_id, collection, keys, fields, created_at, log_xact)
SELECT :tenant_id, :collection, r.keys, draftline.order_fields(r.keys), CAST(:now AS timestamptz),
    CASE WHEN r.keys #>> '{0,type}' <> 'ID' THEN draftline.log_horizon() END  -- a relation has no sorted build
FROM required AS r
WHERE r.keys NOT IN (SELECT o.keys FROM draftline.collection_order AS o
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state IN ('BUILDING', 'READY'))
ORDER BY r.keys

-- name: get_orders
-- Return the declared orders of some collections, their states, and how far each is built.
SELECT o.collection, o.keys::text AS keys, o.state, o.record_count, o.record_total, o.draft_count
FROM draftline.collection_order AS o
WHERE o.tenant_id = :tenant_id AND o.collection = ANY (CAST(:collections AS text[])) AND o.state IN ('BUILDING', 'READY')

-- name: unready_orders
-- Return the collections of all tenants that have orders to be built or deleted; for the background job and the doctor.
SELECT o.tenant_id, o.collection, o.state, count(*) AS orders
FROM draftline.collection_order AS o
WHERE o.state <> 'READY'
GROUP BY o.tenant_id, o.collection, o.state
ORDER BY o.tenant_id, o.collection, o.state

-- name: is_unbuilt
-- Return whether a collection has orders that are not built yet, and whether one of them has no entries yet.
SELECT count(*) > 0 AS is_unbuilt,
    coalesce(bool_or(record_filled_to IS NULL AND draft_filled_to IS NULL), false) AS is_new
FROM draftline.collection_order
WHERE tenant_id = :tenant_id AND collection = :collection AND state = 'BUILDING'

-- name: is_large
-- Return whether a sorted build has to add the records' entries of some orders: it has begun, or many records are left.
SELECT EXISTS (
    SELECT FROM draftline.collection_order AS o
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state = 'BUILDING'
      AND o.draft_filled_to IS NULL AND o.log_xact IS NOT NULL
      AND (o.begun_to IS NOT NULL OR (SELECT true FROM draftline.record AS r
          WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id > coalesce(o.record_filled_to, '')
          ORDER BY r.record_id OFFSET :many LIMIT 1))
) AS is_large

-- name: lock_building
-- Lock the orders of a collection that are being built, those that are least far first, except those whose records a sorted
-- build adds (see sorted_orders.sql). No other process builds them meanwhile; writes and lists do not wait. A wait for a
-- record that another transaction has locked ends after lock_timeout.
SELECT o.order_id, o.record_filled_to, o.draft_filled_to
FROM draftline.collection_order AS o
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state = 'BUILDING' AND o.begun_to IS NULL
  AND (SELECT set_config('lock_timeout', CAST(:lock_timeout AS text), true)) IS NOT NULL
ORDER BY o.draft_filled_to NULLS FIRST, o.record_filled_to NULLS FIRST, o.order_id
FOR UPDATE OF o

-- name: fill_records
-- Add the entries of the next records to some orders. A record is locked, so that no write moves its entries meanwhile; an
-- entry that a write has made already stays. Return how many records were read, and the last one.
WITH batch AS MATERIALIZED (
    SELECT r.record_id, r.content, r.deleted_at IS NULL AS is_live
    FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id > :after
    ORDER BY r.record_id
    LIMIT :limit
    FOR SHARE
), keys AS MATERIALIZED (
    SELECT o.order_id, k.key, b.record_id
    FROM batch AS b
    CROSS JOIN draftline.collection_order AS o
    CROSS JOIN LATERAL draftline.entry_keys(b.content, o.keys) AS k (key)
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = ANY (CAST(:order_ids AS bigint[]))
      AND b.is_live
), filled AS (
    INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
    SELECT :tenant_id, :collection, k.order_id, k.key, k.record_id
    FROM keys AS k
    WHERE draftline.order_entry_fits(k.key, CAST(:tenant_id AS text) || CAST(:collection AS text) || k.record_id)
    ORDER BY k.order_id, k.key, k.record_id
    ON CONFLICT DO NOTHING
)
SELECT count(*) AS count, max(record_id) AS last FROM batch

-- name: fill_drafts
-- The same for the drafts of the next records. All drafts of a record are in one batch. last: NULL: there are no more.
WITH edge AS MATERIALIZED (
    SELECT d.record_id FROM draftline.draft AS d
    WHERE d.tenant_id = :tenant_id AND d.collection = :collection AND d.record_id > :after
    ORDER BY d.record_id OFFSET CAST(:limit AS bigint) - 1 LIMIT 1
), batch AS MATERIALIZED (
    SELECT d.user_id, d.record_id, d.merged
    FROM draftline.draft AS d
    WHERE d.tenant_id = :tenant_id AND d.collection = :collection AND d.record_id > :after
      -- An upper bound in any case, after every id: an OR in its place would read all drafts that are left.
      AND d.record_id <= coalesce((SELECT e.record_id FROM edge AS e), repeat(chr(1114111), 129))
    ORDER BY d.record_id, d.user_id
    FOR SHARE
), keys AS MATERIALIZED (
    SELECT b.user_id, o.order_id, k.key, b.record_id
    FROM batch AS b
    CROSS JOIN draftline.collection_order AS o
    CROSS JOIN LATERAL draftline.entry_keys(b.merged, o.keys) AS k (key)
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = ANY (CAST(:order_ids AS bigint[]))
), filled AS (
    INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
    SELECT :tenant_id, k.user_id, :collection, k.order_id, k.key, k.record_id
    FROM keys AS k
    WHERE draftline.order_entry_fits(k.key,
        CAST(:tenant_id AS text) || k.user_id || CAST(:collection AS text) || k.record_id)
    ORDER BY k.user_id, k.order_id, k.key, k.record_id
    ON CONFLICT DO NOTHING
)
SELECT count(*) AS count, (SELECT e.record_id FROM edge AS e) AS last FROM batch

-- name: advance_orders
-- Store how far some orders are built. NULL: the position stays. is_ready: their entries are complete.
UPDATE draftline.collection_order AS o
SET record_filled_to = coalesce(:record_filled_to, o.record_filled_to),
    draft_filled_to = coalesce(:draft_filled_to, o.draft_filled_to),
    record_count = o.record_count + :records, draft_count = o.draft_count + :drafts,
    state = CASE WHEN CAST(:is_ready AS boolean) THEN 'READY' ELSE o.state END,
    ready_at = CASE WHEN CAST(:is_ready AS boolean) THEN CAST(:now AS timestamptz) END
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = ANY (CAST(:order_ids AS bigint[]))
  AND o.state = 'BUILDING'

-- name: retire_orders
-- Stop keeping the entries of orders that are no longer declared, once no list can read them. Return whether there are such
-- orders, or earlier ones whose entries are still to be deleted.
WITH retired AS (
    UPDATE draftline.collection_order AS o
    SET state = 'DELETING'
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state = 'DROPPING'
      AND o.dropped_at <= CAST(:now AS timestamptz) - CAST(:linger AS interval)
    RETURNING o.order_id
)
SELECT order_id FROM retired
UNION
SELECT o.order_id FROM draftline.collection_order AS o
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state = 'DELETING'

-- name: delete_entries
-- Delete some entries of an order, after a position. Return how many, and the position of the last one.
WITH doomed AS MATERIALIZED (
    SELECT e.key, e.record_id
    FROM draftline.order_entry AS e
    WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.order_id = :order_id
      AND (e.key, e.record_id) > (CAST(:after_key AS bytea), CAST(:after_id AS text))
    ORDER BY e.key, e.record_id
    LIMIT :limit
), deleted AS (
    DELETE FROM draftline.order_entry AS e
    USING doomed AS d
    WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.order_id = :order_id
      AND e.key = d.key AND e.record_id = d.record_id
)
SELECT key, record_id, count(*) OVER () AS count FROM doomed ORDER BY key DESC, record_id DESC LIMIT 1

-- name: next_entry_user
-- Return the next user of a tenant who has entries of drafts; NULL: there is none.
SELECT min(e.user_id) AS user_id
FROM draftline.draft_order_entry AS e
WHERE e.tenant_id = :tenant_id AND e.user_id > :after

-- name: delete_draft_entries
-- Delete some entries of a user's drafts in an order. Return how many.
WITH doomed AS MATERIALIZED (
    SELECT e.key, e.record_id
    FROM draftline.draft_order_entry AS e
    WHERE e.tenant_id = :tenant_id AND e.user_id = :user_id AND e.collection = :collection AND e.order_id = :order_id
    LIMIT :limit
), deleted AS (
    DELETE FROM draftline.draft_order_entry AS e
    USING doomed AS d
    WHERE e.tenant_id = :tenant_id AND e.user_id = :user_id AND e.collection = :collection AND e.order_id = :order_id
      AND e.key = d.key AND e.record_id = d.record_id
)
SELECT count(*) AS count FROM doomed

-- name: delete_order
-- Delete an order whose entries are deleted.
DELETE FROM draftline.collection_order
WHERE tenant_id = :tenant_id AND collection = :collection AND order_id = :order_id AND state = 'DELETING'

-- name: running_writes
-- Return the running transactions of the service that may have read the spec or the orders of a collection before the last
-- change of them. with_imports: those of imports too; these cannot have read an earlier spec, because the spec of their
-- collection cannot change meanwhile.
SELECT DISTINCT l.virtualtransaction AS transaction
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.relation IN (CAST('draftline.collection' AS regclass), CAST('draftline.collection_order' AS regclass),
        CAST('draftline.order_entry' AS regclass), CAST('draftline.draft_order_entry' AS regclass),
        CAST('draftline.statistic' AS regclass))
  AND l.pid <> pg_backend_pid() AND a.application_name = current_setting('application_name')
  AND (CAST(:with_imports AS boolean) OR NOT EXISTS (SELECT FROM pg_locks AS i
      WHERE i.pid = l.pid AND i.locktype = 'advisory' AND i.classid = CAST(:spec_lock AS bigint) AND i.objsubid = 2))

-- name: orders_being_built
-- Return the orders, of all tenants, whose entries are not complete.
SELECT DISTINCT o.collection, o.keys::text AS keys FROM draftline.collection_order AS o
WHERE o.state = 'BUILDING' AND o.keys #>> '{0,type}' <> 'ID'

-- name: old_indexes
-- Return the indexes that earlier versions built for declared orders, recognised by their names.
SELECT i.relname AS name
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
WHERE x.indrelid IN (CAST('draftline.record' AS regclass), CAST('draftline.draft' AS regclass))
  AND i.relname ~ '^(record|draft)_order_'
