-- Lean patches: plain patches with the strategy SHALLOW, in one collection, of fields that no order and no statistic reads.
-- The statement does the same as that of plain_patches.sql, at four fifths of its cost. It leaves all patches to another
-- statement, and writes nothing, if an order or a statistic reads one of the fields. It also leaves those whose record has
-- drafts over it, or is locked or large.

-- fragment: patched_records
-- The patches in the order of their records, each to be joined with its record `r`. LATERAL looks up each record by its key,
-- whatever the planner knows of the table.
SELECT p.index, p.edit, p.expected_version, p.user_id, p.change_reason, p.request_id, p.fingerprint,
    r.record_id, r.content, r.version, r.parent_id, r.position, r.created_at, r.created_by,
    r.updated_at, r.updated_by, r.deleted_at, r.log_xact
FROM (
    SELECT p.*
    FROM unnest(CAST(:record_ids AS text[]), CAST(:edits AS jsonb[]), CAST(:expected_versions AS bigint[]),
        CAST(:user_ids AS text[]), CAST(:change_reasons AS text[]), CAST(:request_ids AS uuid[]),
        CAST(:fingerprints AS bytea[]))
        WITH ORDINALITY AS p (record_id, edit, expected_version, user_id, change_reason, request_id, fingerprint, index)
    ORDER BY p.record_id COLLATE "C"
) AS p

-- fragment: spec
-- What the collection spec says; no row if an order or a statistic reads one of the fields.
spec AS MATERIALIZED (
    SELECT coalesce(c.indexed_text, '[]') AS indexed_text, coalesce(c.history, 'VALUES') AS history,
        CASE WHEN coalesce(c.version, 0) <> CAST(:definition_version AS bigint)
            THEN jsonb '{"reason": "STALE_DEFINITION"}' END AS refusal
    FROM (SELECT 1) AS one
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
    WHERE
    -- include: write_tail.no_reader_of_fields
)

-- name: patch_content
-- Apply lean patches of different records of one tenant, which belong to different calls. A record that is locked, or whose
-- content is larger than `max_cost`, is left. Any other wait fails the statement after `lock_timeout`.
WITH
-- include: lean_patches.spec
, locked AS MATERIALIZED (
    -- include: lean_patches.patched_records
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
        FOR UPDATE SKIP LOCKED
    ) AS r
    WHERE EXISTS (SELECT FROM spec)
      AND (SELECT set_config('lock_timeout', CAST(:lock_timeout AS text), true)) IS NOT NULL
),
-- include: lean_patches.apply

-- fragment: apply
-- Apply the patches of the records that are locked.
drafted AS MATERIALIZED (
    SELECT draftline.with_drafts(:tenant_id, array_agg(CAST(:collection AS text)), array_agg(l.record_id),
        array_agg(l.index)) AS indexes
    FROM locked AS l
), checked AS MATERIALIZED (
    SELECT k.*, d.edit AS forward_edit, d.base AS inverse_edit, d.fields
    FROM (
        SELECT m.*, m.new_content <> m.content AS changes, coalesce(
            CASE WHEN m.deleted_at IS NOT NULL THEN '{"reason": "RECORD_DELETED"}' ELSE m.refusal END,
            CASE WHEN m.expected_version <> m.version
                    THEN jsonb_build_object('reason', 'VERSION_MISMATCH', 'current_version', m.version)
                -- A value takes at least 4 bytes, and at most 256 times as much as JSON text: so small contents fit. The
                -- caller has checked the depth of the edit, and a merge is no deeper than its parts.
                WHEN pg_column_size(m.new_content) > least(CAST(:max_bytes AS int) / 256, 2 * CAST(:max_nodes AS int),
                        CASE WHEN m.indexed_text <> '[]' THEN
                            CASE jsonb_typeof(m.indexed_text -> 0) WHEN 'object' THEN 0
                            ELSE CAST(:max_indexed_text_bytes AS int) END END)
                    AND m.new_content <> m.content
                THEN draftline.content_failure(m.new_content, m.indexed_text, :max_bytes, CAST(NULL AS int),
                    :max_indexed_text_bytes, :max_nodes)
            END) AS failure
        FROM (
            SELECT l.*, s.indexed_text, s.history, s.refusal, l.content || l.edit AS new_content
            FROM locked AS l
            CROSS JOIN drafted AS d
            CROSS JOIN spec AS s
            WHERE l.index <> ALL (d.indexes)
              -- A compressed content may be several times as large.
              AND pg_column_size(l.content) * CASE WHEN pg_column_compression(l.content) IS NULL THEN 1 ELSE 8 END
                  <= CAST(:max_cost AS bigint)
            OFFSET 0  -- a fence: each expression is evaluated once
        ) AS m
        OFFSET 0
    ) AS k
    LEFT JOIN LATERAL draftline.difference_at(k.content, k.new_content, k.edit) AS d ON k.failure IS NULL AND k.changes
), updated AS (
    -- Each record is locked, so each row conflicts with it; unlike a join, this finds it by its key under any plan.
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by,
        updated_at, updated_by, log_xact)
    SELECT :tenant_id, :collection, k.record_id, k.new_content, k.version + 1, k.created_at, k.created_by,
        CAST(:now AS timestamptz), k.user_id, greatest(draftline.log_xact(), k.log_xact)
    FROM checked AS k
    WHERE k.failure IS NULL AND k.changes
    ON CONFLICT (tenant_id, collection, record_id) DO UPDATE
    SET content = EXCLUDED.content, version = EXCLUDED.version, updated_at = EXCLUDED.updated_at,
        updated_by = EXCLUDED.updated_by, log_xact = EXCLUDED.log_xact
), written AS (  -- in the order of `locked`
    SELECT CAST(:collection AS text) AS collection, k.record_id, k.version + 1 AS version, 'UPDATE' AS kind,
        CAST(:source AS text) AS source, greatest(draftline.log_xact(), k.log_xact) AS log_xact, k.forward_edit AS edit,
        k.inverse_edit AS base, k.content AS old_content, k.history,
        CAST(NULL AS text) AS old_parent_id, CAST(NULL AS text) AS parent_id,  -- they stay the same
        CAST(NULL AS bigint) AS old_position, CAST(NULL AS bigint) AS position,
        k.user_id, '' AS session_id, CAST(:commit_id AS uuid) AS commit_id, k.change_reason, k.request_id
    FROM checked AS k
    WHERE k.failure IS NULL AND k.changes
),
-- include: write_tail.log_records
, responses AS (
    SELECT k.user_id, k.request_id, k.fingerprint,
        -- An equal number may be written differently: the record keeps its form, and the response has that of the patch.
        k.history = 'VALUES' AND (k.changes OR k.content::text = k.new_content::text) AS is_rebuilt,
        CASE WHEN NOT k.changes THEN jsonb_build_object('collection', CAST(:collection AS text), 'record_id', k.record_id,
            'created_at', k.created_at, 'updated_at', k.updated_at, 'updated_by', k.updated_by) END AS remainder,
        jsonb_build_object('changed_fields', coalesce(k.fields, '{}')) AS result,
        CAST(:collection AS text) AS collection, k.record_id, k.new_content AS content,
        k.version + k.changes::int AS version, k.parent_id, k.position, k.created_at, k.created_by,
        CASE WHEN k.changes THEN CAST(:now AS timestamptz) ELSE k.updated_at END AS updated_at,
        CASE WHEN k.changes THEN k.user_id ELSE k.updated_by END AS updated_by,
        CAST(NULL AS timestamptz) AS deleted_at
    FROM checked AS k
    WHERE k.failure IS NULL
),
-- include: requests.store_record_responses
SELECT k.index, k.failure::text AS failure, k.new_content::text AS content, k.version + k.changes::int AS version,
    k.parent_id, k.position, k.created_at, k.created_by,
    CASE WHEN k.changes THEN CAST(:now AS timestamptz) ELSE k.updated_at END AS updated_at,
    CASE WHEN k.changes THEN k.user_id ELSE k.updated_by END AS updated_by,
    coalesce(k.fields, '{}') AS changed_fields, k.changes
FROM checked AS k
UNION ALL
SELECT p.index, '{"reason": "RECORD_NOT_FOUND"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM unnest(CAST(:record_ids AS text[])) WITH ORDINALITY AS p (record_id, index)
WHERE (SELECT count(*) FROM locked) < cardinality(CAST(:record_ids AS text[]))
  AND p.index NOT IN (SELECT index FROM locked) AND (
    SELECT true FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id) IS NULL
