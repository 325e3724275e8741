-- name: create_staging
-- Where an import's records wait; gone with the session, and never in the write-ahead log.
CREATE TEMPORARY TABLE staging (
    record_id text COLLATE "C" NOT NULL,
    content jsonb NOT NULL,
    parent_id text COLLATE "C",
    position bigint,
    index bigint NOT NULL,  -- in the stream, from 0
    source text NOT NULL
)

-- name: index_staging
-- For what looks up every record, or draft, of a collection: where the planner does not know of any, it expects one, and
-- would read all that wait for each.
CREATE INDEX ON staging (record_id)

-- name: analyze_staging
-- Tells the planner how much there is; nobody else does for a temporary table.
ANALYZE staging (record_id)

-- name: count_staging
-- How many records wait.
SELECT count(*) AS staged FROM staging

-- name: hold_declaration
-- The collection's declaration, or that it has none, stays as it is until the import is over (see lock_declaration).
SELECT pg_advisory_xact_lock_shared(723683571, hashtext(CAST(:tenant_id AS text) || '/' || CAST(:collection AS text)))

-- name: definition_version
-- The version of the collection's declaration.
SELECT version FROM draftline.collection
WHERE tenant_id = :tenant_id AND collection = :collection

-- name: duplicate_in_staging
-- An id that stands twice.
SELECT record_id FROM staging GROUP BY record_id HAVING count(*) > 1 LIMIT 1

-- name: first_duplicate_in_staging
-- The first record of the stream whose id an earlier one has, after that earlier one.
WITH counted AS (
    SELECT record_id, index, row_number() OVER (PARTITION BY record_id ORDER BY index) AS occurrence FROM staging
)
SELECT s.record_id, s.index, s.source
FROM staging AS s
WHERE s.record_id = (SELECT c.record_id FROM counted AS c WHERE c.occurrence = 2 ORDER BY c.index LIMIT 1)
ORDER BY s.index
LIMIT 2

-- name: unfit_in_staging
-- The first record of the stream that a declared field of the collection cannot be stored with, and why.
SELECT s.record_id, s.index, s.source, f.failure::text AS failure
FROM draftline.collection AS c, staging AS s,
    LATERAL (SELECT draftline.field_failure(s.content, c.indexed_text, :max_indexed_text_bytes) AS failure
             OFFSET 0) AS f
WHERE c.tenant_id = :tenant_id AND c.collection = :collection AND c.indexed_text <> '[]' AND f.failure IS NOT NULL
ORDER BY s.index
LIMIT 1

-- name: create_locked
-- The records that an import has locked; gone with the session.
CREATE TEMPORARY TABLE locked (record_id text COLLATE "C" NOT NULL)

-- name: lock_imported
-- Locks the stored records that an import is about to change, in primary-key order, or with `locks_all` every stored
-- record that it holds; `locked` keeps which.
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
-- The same for a snapshot, which also deletes what it does not hold. With `locks_all` every record of the collection.
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
-- For the look-up of every record that an import writes.
CREATE INDEX ON locked (record_id)

-- name: analyze_locked
-- Tells the planner how many records are locked; nobody else does for a temporary table.
ANALYZE locked (record_id)

-- name: log_imported
-- Logs what the import writes: how many records it creates, how many it changes, and a digest of which and to what
-- versions. `raced`: others have changed a record that is not locked, which must not be waited for now: who waits for a
-- record while he holds greater ones may wait in a circle.
WITH target AS (
    SELECT s.record_id, s.content, s.parent_id, s.position, r.content AS old_content, r.parent_id AS old_parent_id,
        r.position AS old_position, r.version, r.log_xact, r.deleted_at, coalesce(c.history, 'VALUES') AS history,
        CASE WHEN r.content <> s.content THEN draftline.difference(r.content, s.content) END AS difference,
        r.record_id IS NOT NULL AND l.record_id IS NULL AS raced
    FROM staging AS s
    LEFT JOIN draftline.record AS r
        ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
    LEFT JOIN locked AS l ON l.record_id = s.record_id
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
    WHERE r.record_id IS NULL OR r.deleted_at IS NOT NULL
       OR (r.content, r.parent_id, r.position) IS DISTINCT FROM (s.content, s.parent_id, s.position)
    ORDER BY s.record_id
    OFFSET 0  -- so that the difference is made once
), written AS (
    SELECT CAST(:collection AS text) AS collection, t.record_id, coalesce(t.version, 0) + 1 AS version,
        CASE WHEN t.version IS NULL THEN 'CREATE' WHEN t.deleted_at IS NULL THEN 'UPDATE' ELSE 'UNDELETE' END AS kind,
        'IMPORT_CONTENT' AS source, greatest(draftline.log_xact(), t.log_xact) AS log_xact,
        (t.difference).edit AS edit, (t.difference).base AS base, t.old_content, t.history,
        t.old_parent_id, t.parent_id, t.old_position, t.position, CAST(:user_id AS text) AS user_id, '' AS session_id,
        CAST(:commit_id AS uuid) AS commit_id, CAST(:change_reason AS text) AS change_reason,
        CAST(:request_id AS uuid) AS request_id
    FROM target AS t
),
-- include: write_tail.log_records
SELECT count(*) FILTER (WHERE kind = 'CREATE') AS inserted, count(*) FILTER (WHERE kind <> 'CREATE') AS updated,
    sum(hashtextextended(record_id, version)) AS digest, EXISTS (SELECT FROM target WHERE raced) AS raced
FROM logged

-- name: upsert_imported
-- Replaces the locked records that differ and creates what is new; what is the same is left alone. A record that came
-- into being since the log was written is neither, so that the digest is not the log's.
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
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING record_id, version
), upserted AS (
    SELECT record_id, version FROM updated UNION ALL SELECT record_id, version FROM created
)
SELECT count(*) FILTER (WHERE version = 1) AS inserted, count(*) FILTER (WHERE version > 1) AS updated,
    sum(hashtextextended(record_id, version)) AS digest, false AS raced
FROM upserted

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
-- Marks deleted what a snapshot does not hold. `raced`: some of it is not locked; see log_imported.
WITH deleted AS (
    UPDATE draftline.record AS r
    SET deleted_at = :now, version = r.version + 1, updated_at = :now, updated_by = :user_id,
        log_xact = greatest(draftline.log_xact(), r.log_xact)
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM staging AS s WHERE s.record_id = r.record_id)
      AND EXISTS (SELECT FROM locked AS l WHERE l.record_id = r.record_id)
    RETURNING r.record_id, r.version, r.log_xact,
        CASE WHEN draftline.keeps_snapshot(r.version) THEN r.content END AS content
), written AS (
    SELECT CAST(:collection AS text) AS collection, d.record_id, d.version, 'DELETE' AS kind,
        'IMPORT_CONTENT' AS source, d.log_xact, CAST(NULL AS jsonb) AS edit, CAST(NULL AS jsonb) AS base,
        d.content AS old_content, c.history, CAST(NULL AS text) AS old_parent_id, CAST(NULL AS text) AS parent_id,
        CAST(NULL AS bigint) AS old_position, CAST(NULL AS bigint) AS position,
        CAST(:user_id AS text) AS user_id, '' AS session_id, CAST(:commit_id AS uuid) AS commit_id,
        CAST(:change_reason AS text) AS change_reason, CAST(:request_id AS uuid) AS request_id
    FROM deleted AS d
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
),
-- include: write_tail.log_records
SELECT count(*) AS deleted, EXISTS (
    SELECT FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM staging AS s WHERE s.record_id = r.record_id)
      AND NOT EXISTS (SELECT FROM locked AS l WHERE l.record_id = r.record_id)) AS raced
FROM deleted

-- name: analyze_records
-- Tells the planner what an import has changed, before it plans for what was there.
ANALYZE draftline.record
