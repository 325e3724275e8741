-- name: lock_build
-- Take the right to add the entries of a large collection, for this connection, unless another one has it.
SELECT pg_try_advisory_lock(
    CAST(:build_lock AS integer), hashtext(CAST(:tenant_id AS text) || '/' || CAST(:collection AS text))) AS locked

-- name: unlock_build
-- Release the right of lock_build.
SELECT pg_advisory_unlock(
    CAST(:build_lock AS integer), hashtext(CAST(:tenant_id AS text) || '/' || CAST(:collection AS text)))

-- name: create_sorted_entries
-- Create the table that holds the entries of a range of records until they are added. It ends with the session, and is never
-- in the write-ahead log.
CREATE TEMPORARY TABLE IF NOT EXISTS sorted_entry (
    order_id bigint NOT NULL,
    key bytea NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    is_settled boolean NOT NULL  -- the record has not changed since the order was declared, so the entry is not there yet
)

-- name: create_sorted_run
-- Create the table that holds those of one order, in the order of its index.
CREATE TEMPORARY TABLE IF NOT EXISTS sorted_run (
    key bytea NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    is_settled boolean NOT NULL
)

-- name: empty_sorted_entries
-- Remove all rows.
TRUNCATE sorted_entry

-- name: empty_sorted_run
-- Remove all rows.
TRUNCATE sorted_run

-- name: sort_run
-- Sort the entries of an order.
INSERT INTO sorted_run (key, record_id, is_settled)
SELECT s.key, s.record_id, s.is_settled FROM sorted_entry AS s
WHERE s.order_id = :order_id
ORDER BY s.key, s.record_id

-- name: count_pages
-- Return the number of pages of the sorted entries.
SELECT pg_relation_size('sorted_run') / current_setting('block_size')::bigint AS pages

-- name: index_sorted_entries
-- Create the index for looking up the entries of some records.
CREATE INDEX IF NOT EXISTS sorted_entry_idx ON sorted_entry (record_id)

-- name: drop_sorted_entries
-- Drop the table with its index.
DROP TABLE sorted_entry

-- name: claim_orders
-- Lock the orders of a collection that need the entries of records and are least far, and mark them as to be verified. Return
-- them, and how far they were.
WITH least AS MATERIALIZED (
    SELECT o.* FROM draftline.collection_order AS o
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state = 'BUILDING'
      AND o.draft_filled_to IS NULL AND o.log_xact IS NOT NULL
    ORDER BY o.record_filled_to NULLS FIRST, o.order_id
    FOR UPDATE
), claimed AS MATERIALIZED (
    SELECT l.* FROM least AS l
    WHERE l.record_filled_to IS NOT DISTINCT FROM (
        SELECT f.record_filled_to FROM least AS f ORDER BY f.record_filled_to NULLS FIRST LIMIT 1)
), marked AS (
    UPDATE draftline.collection_order AS o
    SET begun_to = coalesce(c.record_filled_to, ''), record_filled_to = coalesce(c.record_filled_to, '')
    FROM claimed AS c
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = c.order_id AND c.begun_to IS NULL
)
SELECT c.order_id, c.keys::text AS keys, coalesce(c.record_filled_to, '') AS record_filled_to, c.record_total, c.log_xact,
    coalesce(c.begun_to > c.record_filled_to, false) AS was_begun
FROM claimed AS c
ORDER BY c.order_id

-- name: count_records
-- Count the records of a collection for the progress of the orders that are being built. Deleted ones are read as well.
UPDATE draftline.collection_order AS o
SET record_total = (SELECT count(*) FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection)
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = ANY (CAST(:order_ids AS bigint[]))

-- name: next_range
-- Return how many records the next range has, and the last one.
SELECT count(*) AS count, max(n.record_id) AS last
FROM (
    SELECT r.record_id FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id > :after
    ORDER BY r.record_id
    LIMIT :limit
) AS n

-- name: begin_range
-- Store that entries up to a record may be added from now on.
UPDATE draftline.collection_order AS o
SET begun_to = greatest(o.begun_to, :last)
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = ANY (CAST(:order_ids AS bigint[]))
  AND o.state = 'BUILDING' AND o.begun_to IS NOT NULL AND o.record_filled_to = :after

-- name: hold_orders
-- Lock those of the orders that are still where the range begins, so that no other process builds or drops them meanwhile. A
-- commit does not wait for the disk: after a crash, what is lost is lost together with the progress.
SELECT o.order_id
FROM draftline.collection_order AS o
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = ANY (CAST(:order_ids AS bigint[]))
  AND o.state = 'BUILDING' AND o.begun_to IS NOT NULL AND o.record_filled_to = :after
  AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
ORDER BY o.order_id
FOR UPDATE

-- name: add_settled_entries
-- Add the sorted entries in some pages that cannot be there yet. A scan of a range of pages returns the rows in their order.
INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
SELECT :tenant_id, :collection, :order_id, s.key, s.record_id
FROM sorted_run AS s
WHERE s.is_settled AND s.ctid >= CAST(CAST(:from_row AS text) AS tid) AND s.ctid < CAST(CAST(:to_row AS text) AS tid)

-- name: add_other_entries
-- Add those that may be there already: of records that were written since the order was declared, and all of a range that was
-- begun before.
INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
SELECT :tenant_id, :collection, :order_id, s.key, s.record_id
FROM sorted_run AS s
WHERE (NOT s.is_settled OR CAST(:was_begun AS boolean))
  AND s.ctid >= CAST(CAST(:from_row AS text) AS tid) AND s.ctid < CAST(CAST(:to_row AS text) AS tid)
ON CONFLICT DO NOTHING

-- name: advance_records
-- Store that a range is added.
UPDATE draftline.collection_order AS o
SET record_filled_to = :last, record_count = o.record_count + :records
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = ANY (CAST(:order_ids AS bigint[]))
  AND o.state = 'BUILDING' AND o.begun_to IS NOT NULL AND o.record_filled_to = :after

-- name: plan_without_loops
-- Prevent a look-up for each entry in this transaction: the planner's statistics may not know the new entries yet.
SELECT set_config('enable_nestloop', 'off', true)

-- name: find_unsettled_entries
-- Collect the entries that may be wrong: those of records that were written since the orders were declared, or are gone.
INSERT INTO sorted_entry (order_id, key, record_id, is_settled)
SELECT e.order_id, e.key, e.record_id, false
FROM draftline.order_entry AS e
WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.order_id = ANY (CAST(:order_ids AS bigint[]))
  AND NOT EXISTS (SELECT FROM draftline.record AS r
      WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = e.record_id
        AND r.deleted_at IS NULL AND r.log_xact < CAST(:log_xact AS bigint))

-- name: unsettled_records
-- Return the next records that have such entries.
SELECT DISTINCT s.record_id FROM sorted_entry AS s
WHERE s.record_id > :after
ORDER BY s.record_id
LIMIT :limit

-- name: lock_records
-- Lock some records, so that no write moves their entries meanwhile. Return those that exist. A wait for a record that another
-- transaction has locked ends after lock_timeout.
SELECT r.record_id
FROM draftline.record AS r
WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = ANY (CAST(:record_ids AS text[]))
  AND (SELECT set_config('lock_timeout', CAST(:lock_timeout AS text), true)) IS NOT NULL
ORDER BY r.record_id
FOR SHARE

-- name: verify_entries
-- Delete the entries of these records that are wrong, and add those that are missing. The records are locked by an earlier
-- statement of the transaction, so this one sees their last contents.
WITH expected AS MATERIALIZED (
    SELECT o.order_id, draftline.order_key(r.content, o.keys) AS key, r.record_id
    FROM draftline.record AS r
    JOIN draftline.collection_order AS o
        ON o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = ANY (CAST(:order_ids AS bigint[]))
        AND o.state <> 'DELETING'  -- nothing would delete entries that are added now
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = ANY (CAST(:record_ids AS text[]))
      AND r.deleted_at IS NULL
), wrong AS MATERIALIZED (
    SELECT s.order_id, s.key, s.record_id FROM sorted_entry AS s WHERE s.record_id = ANY (CAST(:record_ids AS text[]))
    EXCEPT
    SELECT x.order_id, x.key, x.record_id FROM expected AS x
), removed AS (
    DELETE FROM draftline.order_entry AS e
    USING wrong AS w
    WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.order_id = w.order_id AND e.key = w.key
      AND e.record_id = w.record_id
)
INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
SELECT :tenant_id, :collection, x.order_id, x.key, x.record_id
FROM expected AS x
WHERE draftline.order_entry_fits(x.key, CAST(:tenant_id AS text) || CAST(:collection AS text) || x.record_id)
ORDER BY x.order_id, x.key, x.record_id
ON CONFLICT DO NOTHING

-- name: finish_records
-- Store that the entries of all records exist and are right.
UPDATE draftline.collection_order AS o
SET draft_filled_to = '', begun_to = NULL
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.order_id = ANY (CAST(:order_ids AS bigint[]))
  AND o.state = 'BUILDING' AND o.begun_to IS NOT NULL AND o.record_filled_to = :after
