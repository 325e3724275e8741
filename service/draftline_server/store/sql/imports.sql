-- name: create_staging
-- Where an import's records wait; gone with the transaction, and never in the write-ahead log.
CREATE TEMPORARY TABLE staging (
    record_id text COLLATE "C" NOT NULL,
    content jsonb NOT NULL,
    parent_id text COLLATE "C",
    position bigint
) ON COMMIT DROP

-- name: analyze_staging
-- Tells the planner how much there is; nobody else does for a temporary table.
ANALYZE staging

-- name: count_staging
-- How many records wait.
SELECT count(*) AS staged FROM staging

-- name: hold_definition
-- The version of the collection's declaration, which stays as it is until the import is over.
SELECT version FROM draftline.collection
WHERE tenant_id = :tenant_id AND collection = :collection
FOR SHARE

-- name: duplicate_in_staging
-- An id that stands twice.
SELECT record_id FROM staging GROUP BY record_id HAVING count(*) > 1 LIMIT 1

-- name: overlong_in_staging
-- A record with a text too long for the index of a field that the collection declares.
SELECT s.record_id, draftline.overlong_text(s.content, c.indexed_text, :max_indexed_text_bytes) AS path
FROM draftline.collection AS c, staging AS s
WHERE c.tenant_id = :tenant_id AND c.collection = :collection AND c.indexed_text <> '[]'
  AND draftline.overlong_text(s.content, c.indexed_text, :max_indexed_text_bytes) IS NOT NULL
LIMIT 1

-- name: lock_imported
-- Every record that an import will change, locked in primary-key order.
SELECT count(*) FROM (
    SELECT r.record_id
    FROM draftline.record AS r
    JOIN staging AS s ON s.record_id = r.record_id
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection
      AND (r.deleted_at IS NOT NULL OR (r.content, r.parent_id, r.position)
          IS DISTINCT FROM (s.content, s.parent_id, s.position))
    ORDER BY r.record_id
    FOR UPDATE OF r
) AS locked

-- name: lock_snapshot
-- Every record that a snapshot will change or delete, locked in primary-key order.
SELECT count(*) FROM (
    SELECT r.record_id
    FROM draftline.record AS r
    LEFT JOIN staging AS s ON s.record_id = r.record_id
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection
      AND CASE WHEN s.record_id IS NULL THEN r.deleted_at IS NULL
               ELSE r.deleted_at IS NOT NULL OR (r.content, r.parent_id, r.position)
                   IS DISTINCT FROM (s.content, s.parent_id, s.position) END
    ORDER BY r.record_id
    FOR UPDATE OF r
) AS locked

-- name: upsert_imported
-- Creates what is new and replaces what differs; what is the same is left alone.
WITH upserted AS (
    INSERT INTO draftline.record AS target (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by)
    SELECT :tenant_id, :collection, s.record_id, s.content, 1, s.parent_id, s.position,
        CAST(:now AS timestamptz), CAST(:user_id AS text), CAST(:now AS timestamptz), CAST(:user_id AS text)
    FROM staging AS s
    LEFT JOIN draftline.record AS r
        ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
    WHERE r.record_id IS NULL OR r.deleted_at IS NOT NULL
       OR (r.content, r.parent_id, r.position) IS DISTINCT FROM (s.content, s.parent_id, s.position)
    ORDER BY s.record_id
    ON CONFLICT (tenant_id, collection, record_id) DO UPDATE
    SET content = excluded.content, version = target.version + 1, parent_id = excluded.parent_id,
        position = excluded.position, updated_at = excluded.updated_at, updated_by = excluded.updated_by,
        deleted_at = NULL
    WHERE target.deleted_at IS NOT NULL OR (target.content, target.parent_id, target.position)
        IS DISTINCT FROM (excluded.content, excluded.parent_id, excluded.position)
    RETURNING version
)
SELECT count(*) FILTER (WHERE version = 1) AS inserted, count(*) FILTER (WHERE version > 1) AS updated FROM upserted

-- name: refresh_imported
-- Brings the drafts of all users over the imported records up to date.
WITH stale AS MATERIALIZED (
    SELECT d.user_id, d.record_id, d.edit, r.content
    FROM draftline.draft AS d
    JOIN staging AS s ON s.record_id = d.record_id
    JOIN draftline.record AS r
        ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = d.record_id
    WHERE d.tenant_id = :tenant_id AND d.collection = :collection AND d.kind <> 'CREATE'
      AND d.merged <> draftline.apply_edit(d.edit, r.content)
    ORDER BY d.record_id, d.user_id
    FOR UPDATE OF d
)
UPDATE draftline.draft AS d
SET merged = draftline.apply_edit(s.edit, s.content)
FROM stale AS s
WHERE d.tenant_id = :tenant_id AND d.user_id = s.user_id AND d.collection = :collection AND d.record_id = s.record_id

-- name: delete_unlisted
-- What a snapshot does not hold is marked deleted.
WITH deleted AS (
    UPDATE draftline.record AS r
    SET deleted_at = :now, version = r.version + 1, updated_at = :now, updated_by = :user_id
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM staging AS s WHERE s.record_id = r.record_id)
    RETURNING 1
)
SELECT count(*) AS deleted FROM deleted

-- name: analyze_records
-- Tells the planner what an import has changed, before it plans for what was there.
ANALYZE draftline.record
