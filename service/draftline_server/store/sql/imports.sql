-- name: create_staging
-- Create the table that holds an import's records until they are written. It ends with the session, and is never in the
-- write-ahead log.
CREATE TEMPORARY TABLE staging (
    record_id text COLLATE "C" NOT NULL,
    content jsonb NOT NULL,
    parent_id text COLLATE "C",
    position bigint,
    index bigint NOT NULL,  -- in the stream, from 0
    source text NOT NULL,
    keys bytea[] NOT NULL  -- of the content, for each order that the import has found at its start
)

-- name: sample_staging
-- Let analyze_staging read a tenth of the rows that it would: that the ids differ is all that the planner has to know.
ALTER TABLE staging ALTER record_id SET STATISTICS 10

-- name: index_staging
-- Create the index for statements that look up every record or draft of a collection. If the planner knows of no such
-- rows, it expects one, and would scan the staging table for each.
CREATE INDEX ON staging (record_id)

-- name: analyze_staging
-- Collect the planner's statistics, which autovacuum does not do for temporary tables.
ANALYZE staging (record_id)

-- name: hold_declaration
-- Prevent changes of the collection spec until the import ends, whether one exists or not (see
-- lock_declaration).
SELECT pg_advisory_xact_lock_shared(
    CAST(:spec_lock AS integer), hashtext(CAST(:tenant_id AS text) || '/' || CAST(:collection AS text)))

-- name: definition_version
-- Return the version of the collection spec.
SELECT version, upstream FROM draftline.collection
WHERE tenant_id = :tenant_id AND collection = :collection

-- name: kept_orders
-- Return the orders of the collection whose keys are computed for each record of an import; those of relations are not.
SELECT o.order_id, o.keys::text AS keys
FROM draftline.collection_order AS o
WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state <> 'DELETING' AND o.keys #>> '{0,type}' <> 'ID'
ORDER BY o.order_id

-- name: duplicate_in_staging
-- Return an id that occurs twice.
SELECT record_id FROM staging GROUP BY record_id HAVING count(*) > 1 LIMIT 1

-- name: first_duplicate_in_staging
-- Return the first record of the stream whose id an earlier record has, after that earlier record.
WITH counted AS (
    SELECT record_id, index, row_number() OVER (PARTITION BY record_id ORDER BY index) AS occurrence FROM staging
)
SELECT s.record_id, s.index, s.source
FROM staging AS s
WHERE s.record_id = (SELECT c.record_id FROM counted AS c WHERE c.occurrence = 2 ORDER BY c.index LIMIT 1)
ORDER BY s.index
LIMIT 2

-- name: unfit_in_staging
-- Return the first record of the stream that a declared field prevents from being stored, and why.
SELECT s.record_id, s.index, s.source, f.failure::text AS failure
FROM draftline.collection AS c, staging AS s,
    LATERAL (SELECT draftline.field_failure(s.content, c.indexed_text, :max_indexed_text_bytes) AS failure
             OFFSET 0) AS f
WHERE c.tenant_id = :tenant_id AND c.collection = :collection AND c.indexed_text <> '[]' AND f.failure IS NOT NULL
ORDER BY s.index
LIMIT 1

-- name: create_locked
-- Create the table of the records that an import has locked. It ends with the session.
CREATE TEMPORARY TABLE locked (record_id text COLLATE "C" NOT NULL)

-- name: lock_imported
-- Lock the stored records that an import will change, in primary-key order; with `locks_all`, every stored record of
-- the import. Store their ids in `locked`.
INSERT INTO locked
SELECT r.record_id
FROM draftline.record AS r
JOIN staging AS s ON s.record_id = r.record_id
WHERE r.tenant_id = :tenant_id AND r.collection = :collection
  AND (CAST(:locks_all AS boolean) OR r.deleted_at IS NOT NULL OR (r.content, r.parent_id, r.position)
      IS DISTINCT FROM (s.content, s.parent_id, s.position))
ORDER BY r.record_id
FOR UPDATE OF r

-- name: lock_snapshot
-- Lock the same for a snapshot, which also deletes the records that it does not contain; with `locks_all`, every record
-- of the collection.
INSERT INTO locked
SELECT r.record_id
FROM draftline.record AS r
LEFT JOIN staging AS s ON s.record_id = r.record_id
WHERE r.tenant_id = :tenant_id AND r.collection = :collection
  AND CASE WHEN CAST(:locks_all AS boolean) THEN true
           WHEN s.record_id IS NULL THEN r.deleted_at IS NULL
           ELSE r.deleted_at IS NOT NULL OR (r.content, r.parent_id, r.position)
               IS DISTINCT FROM (s.content, s.parent_id, s.position) END
ORDER BY r.record_id
FOR UPDATE OF r

-- name: index_locked
-- Create the index for looking up each record that an import writes.
CREATE INDEX ON locked (record_id)

-- name: analyze_locked
-- Collect the planner's statistics, which autovacuum does not do for temporary tables.
ANALYZE locked (record_id)

-- name: log_created
-- Log the records that the import creates, and add their entries. Return their number, and a digest of their ids and versions.
-- It fails if an entry of a record exists already.
-- include: imports.created
-- include: imports.created_entries
),
-- include: imports.created_tally
-- include: imports.created_counts

-- name: log_created_again
-- The same, for an import that was raced: entries that exist already stay.
-- include: imports.created
-- include: imports.created_entries
    ON CONFLICT DO NOTHING
),
-- include: imports.created_tally
-- include: imports.created_counts

-- fragment: created
-- The new records, without their contents, which few parts need, and their log entries.
WITH created AS MATERIALIZED (
    SELECT s.record_id, s.parent_id, s.position, s.keys
    FROM staging AS s
    LEFT JOIN draftline.record AS r
        ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
    WHERE r.record_id IS NULL
    ORDER BY s.record_id
), written AS NOT MATERIALIZED (
    SELECT CAST(:collection AS text) AS collection, n.record_id, 1 AS version, 'CREATE' AS kind, 'IMPORT_CONTENT' AS source,
        draftline.log_xact() AS log_xact, CAST(NULL AS jsonb) AS edit, CAST(NULL AS jsonb) AS base,
        CAST(NULL AS jsonb) AS old_content, CAST(NULL AS text) AS history, CAST(NULL AS text) AS old_parent_id, n.parent_id,
        CAST(NULL AS bigint) AS old_position, n.position, CAST(:user_id AS text) AS user_id, '' AS session_id,
        CAST(:commit_id AS uuid) AS commit_id, CAST(:change_reason AS text) AS change_reason,
        CAST(:request_id AS uuid) AS request_id
    FROM created AS n
),
-- include: write_tail.log_records
,
-- include: write_tail.orders_of_collection
,
-- include: write_tail.statistics_of_collection
, contents AS MATERIALIZED (  -- of the new records, if relations or statistics read them
    SELECT s.record_id, s.content
    FROM staging AS s
    JOIN created AS n ON n.record_id = s.record_id
    WHERE EXISTS (SELECT FROM orders WHERE is_relation) OR EXISTS (SELECT FROM statistics)
),

-- fragment: created_entries
-- Adds the entries of the new records, sorted for each order by itself: an order's keys alone sort in half the time. What
-- follows ends the insertion.
new_entries AS (
    INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
    SELECT :tenant_id, :collection, e.order_id, e.key, e.record_id
    FROM (
        SELECT o.order_id, k.key, k.record_id
        FROM orders AS o
        CROSS JOIN LATERAL (
            SELECT n.keys[array_position(CAST(:order_ids AS bigint[]), o.order_id)] AS key, n.record_id
            FROM created AS n
            ORDER BY key, n.record_id
        ) AS k
        WHERE NOT o.is_relation
      UNION ALL
        (
            SELECT o.order_id, m.new_key, n.record_id
            FROM orders AS o
            CROSS JOIN contents AS n
            CROSS JOIN LATERAL draftline.moved_relation_keys(NULL, n.content, o.keys) AS m
            WHERE o.is_relation
            ORDER BY o.order_id, m.new_key, n.record_id
        )
    ) AS e
    WHERE draftline.order_entry_fits(e.key, CAST(:tenant_id AS text) || CAST(:collection AS text) || e.record_id)

-- fragment: created_tally
-- Tallies the new records.
tallied_records AS (
    SELECT n.record_id, CAST(NULL AS jsonb) AS before, n.content AS after FROM contents AS n WHERE EXISTS (SELECT FROM statistics)
),
-- include: write_tail.tally_locked_contents

-- fragment: created_counts
SELECT count(*) AS inserted, coalesce(sum(hashtextextended(record_id, version)), 0) AS digest FROM logged

-- name: log_changed
-- Log the stored records that the import changes, and move their entries. Return their number, and a digest of their ids and
-- versions. It runs after log_created, and `raced` is whether it finds what that one did not: others have created or changed a
-- record that is not locked. It must not be waited for now, because waiting for a record while holding later ones may
-- deadlock. It fails if an entry of a record exists already.
-- include: imports.changed
-- include: write_tail.move_locked_entries_once
-- include: imports.changed_counts

-- name: log_changed_again
-- The same, for an import that was raced: entries that exist already stay.
-- include: imports.changed
-- include: write_tail.move_locked_entries
-- include: imports.changed_counts

-- fragment: changed
-- The stored records that the import changes, and their log entries.
WITH target AS (
    SELECT s.record_id, s.content, s.parent_id, s.position, r.content AS old_content, r.parent_id AS old_parent_id,
        r.position AS old_position, r.version, r.log_xact, r.deleted_at, coalesce(c.history, 'VALUES') AS history,
        d.edit, d.base, d.fields, l.record_id IS NULL AS raced
    FROM staging AS s
    JOIN draftline.record AS r
        ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
    LEFT JOIN locked AS l ON l.record_id = s.record_id
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
    LEFT JOIN LATERAL draftline.difference_at(r.content, s.content, r.content || s.content) AS d ON r.content <> s.content
    WHERE r.deleted_at IS NOT NULL OR (r.content, r.parent_id, r.position) IS DISTINCT FROM (s.content, s.parent_id, s.position)
    ORDER BY s.record_id
    OFFSET 0  -- so that each difference is computed once
), written AS NOT MATERIALIZED (
    SELECT CAST(:collection AS text) AS collection, t.record_id, t.version + 1 AS version,
        CASE WHEN t.deleted_at IS NULL THEN 'UPDATE' ELSE 'UNDELETE' END AS kind, 'IMPORT_CONTENT' AS source,
        greatest(draftline.log_xact(), t.log_xact) AS log_xact,
        t.edit, t.base, t.fields AS changed_fields, t.old_content, t.content AS new_content, t.history,
        t.old_parent_id, t.parent_id, t.old_position, t.position, CAST(:user_id AS text) AS user_id, '' AS session_id,
        CAST(:commit_id AS uuid) AS commit_id, CAST(:change_reason AS text) AS change_reason,
        CAST(:request_id AS uuid) AS request_id
    FROM target AS t
),
-- include: write_tail.log_records
,
-- include: write_tail.orders_of_collection
,

-- fragment: changed_counts
SELECT count(*) AS updated, coalesce(sum(hashtextextended(record_id, version)), 0) AS digest,
    EXISTS (SELECT FROM target WHERE raced) AS raced
FROM logged

-- name: upsert_imported
-- Replace the locked records that differ, and create the new ones; equal records stay. It fails if a record was created since
-- the log was written.
-- include: imports.upserted
    RETURNING record_id, version
-- include: imports.upserted_counts

-- name: upsert_imported_again
-- The same, for an import that was raced. A record that was created since the log was written is neither, so that the digest
-- differs from the log's.
-- include: imports.upserted
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING record_id, version
-- include: imports.upserted_counts

-- fragment: upserted
-- Replaces and creates the records. What follows ends the insertion of the new ones.
WITH updated AS (
    UPDATE draftline.record AS r
    SET content = s.content, version = r.version + 1, parent_id = s.parent_id, position = s.position,
        updated_at = :now, updated_by = :user_id, deleted_at = NULL,
        log_xact = greatest(draftline.log_xact(), r.log_xact)
    FROM staging AS s
    JOIN locked AS l ON l.record_id = s.record_id
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
      AND (r.deleted_at IS NOT NULL
        OR (r.content, r.parent_id, r.position) IS DISTINCT FROM (s.content, s.parent_id, s.position))
    RETURNING r.record_id, r.version
), created AS (
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, log_xact)
    SELECT :tenant_id, :collection, s.record_id, s.content, 1, s.parent_id, s.position,
        CAST(:now AS timestamptz), CAST(:user_id AS text), CAST(:now AS timestamptz), CAST(:user_id AS text),
        draftline.log_xact()
    FROM staging AS s
    LEFT JOIN draftline.record AS r
        ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
    WHERE r.record_id IS NULL
    ORDER BY s.record_id

-- fragment: upserted_counts
), upserted AS (
    SELECT record_id, version FROM updated UNION ALL SELECT record_id, version FROM created
)
SELECT count(*) FILTER (WHERE version = 1) AS inserted, count(*) FILTER (WHERE version > 1) AS updated,
    coalesce(sum(hashtextextended(record_id, version)), 0) AS digest
FROM upserted

-- name: lock_imported_drafts
-- Lock the drafts of all users over the imported records whose merges change. Return how many they are.
SELECT count(*) AS stale
FROM (
    SELECT d.record_id
    FROM draftline.draft AS d
    JOIN staging AS s ON s.record_id = d.record_id
    JOIN draftline.record AS r
        ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = d.record_id
    WHERE d.tenant_id = :tenant_id AND d.collection = :collection AND d.kind <> 'CREATE'
      AND d.merged <> draftline.apply_edit(d.edit, r.content)
      -- Without a draft, nothing is joined.
      AND EXISTS (SELECT FROM draftline.draft AS x WHERE x.tenant_id = :tenant_id AND x.collection = :collection)
    ORDER BY d.record_id, d.user_id
    FOR UPDATE OF d
) AS locked

-- name: refresh_imported
-- Apply these drafts, which the transaction has locked, to the new contents, and move their entries.
WITH stale AS MATERIALIZED (
    SELECT d.user_id, d.record_id, d.kind, d.merged AS old_merged, draftline.apply_edit(d.edit, r.content) AS new_merged
    FROM draftline.draft AS d
    JOIN staging AS s ON s.record_id = d.record_id
    JOIN draftline.record AS r
        ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = d.record_id
    WHERE d.tenant_id = :tenant_id AND d.collection = :collection AND d.kind <> 'CREATE'
      AND d.merged <> draftline.apply_edit(d.edit, r.content)
),
-- include: write_tail.orders_of_collection
, moved_entries AS MATERIALIZED (
    SELECT s.user_id, s.record_id, o.order_id, draftline.order_key(s.old_merged, o.keys) AS old_key,
        draftline.order_key(s.new_merged, o.keys) AS new_key
    FROM stale AS s CROSS JOIN orders AS o
    WHERE NOT o.is_relation
  UNION ALL
    SELECT s.user_id, s.record_id, o.order_id, m.old_key, m.new_key
    FROM stale AS s
    CROSS JOIN orders AS o
    CROSS JOIN LATERAL draftline.moved_relation_keys(s.old_merged, s.new_merged, o.keys) AS m
    WHERE o.is_relation
), left_entries AS (
    DELETE FROM draftline.draft_order_entry AS e
    USING moved_entries AS m
    WHERE e.tenant_id = :tenant_id AND e.user_id = m.user_id AND e.collection = :collection AND e.order_id = m.order_id
      AND e.key = m.old_key AND e.record_id = m.record_id AND m.old_key IS DISTINCT FROM m.new_key
), new_entries AS (
    INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
    SELECT :tenant_id, m.user_id, :collection, m.order_id, m.new_key, m.record_id
    FROM moved_entries AS m
    WHERE m.old_key IS DISTINCT FROM m.new_key AND draftline.order_entry_fits(m.new_key,
        CAST(:tenant_id AS text) || m.user_id || CAST(:collection AS text) || m.record_id)
    ORDER BY m.user_id, m.order_id, m.new_key, m.record_id
    ON CONFLICT DO NOTHING
),
-- include: write_tail.statistics_of_collection
, contributions AS (
    SELECT s.user_id, v.content, v.sign
    FROM stale AS s
    CROSS JOIN LATERAL (VALUES (s.old_merged, -1), (s.new_merged, 1)) AS v (content, sign)
    WHERE s.kind <> 'DELETE' AND EXISTS (SELECT FROM statistics)
),
-- include: write_tail.append_tally
UPDATE draftline.draft AS d
SET merged = s.new_merged
FROM stale AS s
WHERE d.tenant_id = :tenant_id AND d.user_id = s.user_id AND d.collection = :collection AND d.record_id = s.record_id

-- name: delete_unlisted
-- Mark deleted the records that a snapshot does not contain. `raced`: some of them are not locked; see log_changed.
WITH deleted AS (
    UPDATE draftline.record AS r
    SET deleted_at = :now, version = r.version + 1, updated_at = :now, updated_by = :user_id,
        log_xact = greatest(draftline.log_xact(), r.log_xact)
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM staging AS s WHERE s.record_id = r.record_id)
      AND EXISTS (SELECT FROM locked AS l WHERE l.record_id = r.record_id)
    RETURNING r.record_id, r.version, r.log_xact, r.content
), written AS NOT MATERIALIZED (
    SELECT CAST(:collection AS text) AS collection, d.record_id, d.version, 'DELETE' AS kind,
        'IMPORT_CONTENT' AS source, d.log_xact, CAST(NULL AS jsonb) AS edit, CAST(NULL AS jsonb) AS base,
        CAST(NULL AS text[]) AS changed_fields, d.content AS old_content, d.content AS new_content, c.history, CAST(NULL AS text) AS old_parent_id, CAST(NULL AS text) AS parent_id,
        CAST(NULL AS bigint) AS old_position, CAST(NULL AS bigint) AS position,
        CAST(:user_id AS text) AS user_id, '' AS session_id, CAST(:commit_id AS uuid) AS commit_id,
        CAST(:change_reason AS text) AS change_reason, CAST(:request_id AS uuid) AS request_id
    FROM deleted AS d
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
),
-- include: write_tail.log_records
,
-- include: write_tail.orders_of_collection
,
-- include: write_tail.move_locked_entries
SELECT count(*) AS deleted, EXISTS (
    SELECT FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM staging AS s WHERE s.record_id = r.record_id)
      AND NOT EXISTS (SELECT FROM locked AS l WHERE l.record_id = r.record_id)) AS raced
FROM deleted

-- name: analyzed_tables
-- Return what to analyze after imports of some tenants, so that the planner does not plan for the earlier contents: the
-- partitions of these tenants, or the plain table. The statistics of a partitioned table as a whole are gathered without
-- reading each partition again, which PostgreSQL can do since 18; an earlier one keeps those that it has.
SELECT DISTINCT format('draftline.%I', c.relname) AS name, 1 AS step
FROM unnest(CAST(:tenant_ids AS text[])) AS t (tenant_id)
CROSS JOIN LATERAL (SELECT r.tableoid FROM draftline.record AS r WHERE r.tenant_id = t.tenant_id LIMIT 1) AS r
JOIN pg_class AS c ON c.oid = r.tableoid
UNION ALL
SELECT 'ONLY draftline.record', 2
FROM pg_partitioned_table AS p
WHERE p.partrelid = CAST('draftline.record' AS regclass) AND current_setting('server_version_num')::int >= 180000
ORDER BY step, name
