-- name: patch_content
-- Apply patches of one record, in order, each to the result of the one before. Each has its own outcome, version, log entry
-- and stored response; the record, the drafts over it and its order entries are written once. No row: the patches are left,
-- and nothing is written, because the record is missing or large, or because operations would have to be followed by drafts
-- over it. The statement waits for the record, because another server may fold patches of it; like any other wait, this fails
-- the statement after `lock_timeout`.
WITH locked AS MATERIALIZED (
    SELECT r.*
    FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = (CAST(:collections AS text[]))[1]
      AND r.record_id = (CAST(:record_ids AS text[]))[1]
      AND (SELECT set_config('lock_timeout', CAST(:lock_timeout AS text), true)) IS NOT NULL
    FOR UPDATE OF r
), found AS MATERIALIZED (
    SELECT l.*, coalesce(c.history, 'VALUES') AS history, coalesce(c.indexed_text, '[]') AS indexed_text,
        coalesce(c.version, 0) AS current_definition
    FROM locked AS l
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = l.collection
    WHERE pg_column_size(l.content) * CASE WHEN pg_column_compression(l.content) IS NULL THEN 1 ELSE 8 END
          <= CAST(:max_cost AS bigint)
      AND CASE WHEN 'OPERATIONS' = ANY (CAST(:kinds AS text[])) THEN draftline.with_drafts(
          :tenant_id, ARRAY[l.collection], ARRAY[l.record_id], ARRAY[CAST(1 AS bigint)]) = '{}' ELSE true END
), folded AS MATERIALIZED (
    SELECT n.collection, n.record_id, n.parent_id, n.position, n.created_at, n.created_by, n.history, n.log_xact,
        f.*, p.user_id, p.change_reason, p.request_id, p.fingerprint,
        coalesce(f.fields, '{}') AS changed_fields
    FROM found AS n
    CROSS JOIN LATERAL draftline.fold_patches(n.content, n.version, n.record_id, n.parent_id, n.position, n.created_at,
        n.created_by, n.updated_at, n.updated_by, n.deleted_at, n.indexed_text, n.current_definition,
        CAST(:kinds AS text[]), CAST(:edits AS jsonb[]), CAST(:depths AS int[]), CAST(:expected_versions AS bigint[]),
        CAST(:conditions AS jsonb[]), CAST(:definition_versions AS bigint[]), CAST(:user_ids AS text[]), :now,
        :max_bytes, :max_depth, :max_indexed_text_bytes, :max_nodes) AS f
    JOIN unnest(CAST(:user_ids AS text[]), CAST(:change_reasons AS text[]), CAST(:request_ids AS uuid[]),
        CAST(:fingerprints AS bytea[]))
        WITH ORDINALITY AS p (user_id, change_reason, request_id, fingerprint, index) ON p.index = f.index
), last AS MATERIALIZED (
    SELECT f.* FROM folded AS f WHERE f.changes ORDER BY f.index DESC LIMIT 1
), updated AS (
    UPDATE draftline.record AS r
    SET content = l.new_content, version = l.version, updated_at = :now, updated_by = l.user_id,
        log_xact = greatest(draftline.log_xact(), l.log_xact)
    FROM last AS l
    WHERE r.tenant_id = :tenant_id AND r.collection = (CAST(:collections AS text[]))[1]
      AND r.record_id = (CAST(:record_ids AS text[]))[1]
), refreshed AS MATERIALIZED (
    SELECT CASE WHEN count(*) > 0 THEN draftline.refresh_drafts(CAST(:tenant_id AS text),
        array_agg(l.collection), array_agg(l.record_id), array_agg(l.new_content)) END AS drafts
    FROM last AS l
), written AS (
    SELECT f.collection, f.record_id, f.version, 'UPDATE' AS kind, CAST(:source AS text) AS source,
        greatest(draftline.log_xact(), f.log_xact) AS log_xact, f.edit, f.base, f.changed_fields, f.old_content,
        f.new_content, f.history, f.parent_id AS old_parent_id, f.parent_id, f.position AS old_position, f.position,
        f.user_id, '' AS session_id, CAST(:commit_id AS uuid) AS commit_id, f.change_reason, f.request_id
    FROM folded AS f
    WHERE f.changes
    ORDER BY f.index
),
-- include: write_tail.log_records
,
-- include: write_tail.orders_of_written
, moved_entries AS MATERIALIZED (
    SELECT m.*
    FROM (
        SELECT l.collection, l.record_id, o.order_id, draftline.order_key(n.content, o.keys) AS old_key,
            draftline.order_key(l.new_content, o.keys) AS new_key
        FROM last AS l
        CROSS JOIN found AS n
        JOIN orders AS o ON o.collection = l.collection
        WHERE NOT o.is_relation
        OFFSET 0  -- so that each key is computed once
    ) AS m
    WHERE m.old_key IS DISTINCT FROM m.new_key
  UNION ALL
    SELECT l.collection, l.record_id, o.order_id, m.old_key, m.new_key
    FROM last AS l
    CROSS JOIN found AS n
    JOIN orders AS o ON o.collection = l.collection
    CROSS JOIN LATERAL draftline.moved_relation_keys(n.content, l.new_content, o.keys) AS m
    WHERE o.is_relation
),
-- include: write_tail.move_entries
, responses AS (
    SELECT f.user_id, f.request_id, f.fingerprint,
        f.history = 'VALUES' AND (f.changes OR f.old_content::text = f.new_content::text) AS is_rebuilt,
        CASE WHEN NOT f.changes THEN jsonb_build_object('collection', f.collection, 'record_id', f.record_id,
            'created_at', f.created_at, 'updated_at', f.updated_at, 'updated_by', f.updated_by) END AS remainder,
        jsonb_build_object('changed_fields', f.changed_fields) AS result,
        f.collection, f.record_id, f.new_content AS content, f.version, f.parent_id, f.position,
        f.created_at, f.created_by, f.updated_at, f.updated_by, CAST(NULL AS timestamptz) AS deleted_at
    FROM folded AS f
    WHERE f.failure IS NULL
),
-- include: requests.store_record_responses
SELECT f.index, f.failure::text AS failure, f.new_content::text AS content, f.version, f.parent_id, f.position,
    f.created_at, f.created_by, f.updated_at, f.updated_by, f.changed_fields, f.changes
FROM folded AS f
CROSS JOIN refreshed
CROSS JOIN entries
