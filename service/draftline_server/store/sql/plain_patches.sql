-- Plain patches: changes of the content of existing records, without a condition, a parent or a position. The statement does
-- the same as patch_content of content.sql, at half its cost. There is a row for each patch that is decided. The others are
-- left to that statement, and nothing is written for them, because the record has drafts over it, or is locked or large.

-- fragment: patched_records
-- The patches in the order of their records, each to be joined with its record `r`. LATERAL looks up each record by its key,
-- whatever the planner knows of the table.
SELECT p.index, p.kind, p.edit, p.depth, p.expected_version, p.definition_version,
    p.user_id, p.change_reason, p.request_id, p.fingerprint,
    r.collection, r.record_id, r.content, r.version, r.parent_id, r.position, r.created_at, r.created_by,
    r.updated_at, r.updated_by, r.deleted_at, r.log_xact
FROM (
    SELECT p.*
    FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:kinds AS text[]), CAST(:edits AS jsonb[]),
        CAST(:depths AS int[]), CAST(:expected_versions AS bigint[]), CAST(:definition_versions AS bigint[]),
        CAST(:user_ids AS text[]), CAST(:change_reasons AS text[]), CAST(:request_ids AS uuid[]),
        CAST(:fingerprints AS bytea[]))
        WITH ORDINALITY AS p (collection, record_id, kind, edit, depth, expected_version, definition_version,
            user_id, change_reason, request_id, fingerprint, index)
    ORDER BY p.collection COLLATE "C", p.record_id COLLATE "C"
) AS p

-- name: patch_content
-- Apply plain patches of different records of one tenant, which belong to different calls. A record that is locked, or whose
-- content is larger than `max_cost`, is left. Any other wait fails the statement after `lock_timeout`.
WITH locked AS MATERIALIZED (
    -- include: plain_patches.patched_records
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
        FOR UPDATE SKIP LOCKED
    ) AS r
    WHERE (SELECT set_config('lock_timeout', CAST(:lock_timeout AS text), true)) IS NOT NULL
),
-- include: plain_patches.apply

-- fragment: apply
-- Apply the patches of the records that are locked.
drafted AS MATERIALIZED (
    SELECT draftline.with_drafts(:tenant_id, array_agg(l.collection), array_agg(l.record_id), array_agg(l.index)) AS indexes
    FROM locked AS l
), validated AS (
    SELECT l.*, coalesce(c.indexed_text, '[]') AS indexed_text, coalesce(c.history, 'VALUES') AS history, CASE
        WHEN l.deleted_at IS NOT NULL THEN '{"reason": "RECORD_DELETED"}'
        WHEN l.definition_version <> coalesce(c.version, 0) THEN '{"reason": "STALE_DEFINITION"}'
        WHEN l.expected_version <> l.version
            THEN jsonb_build_object('reason', 'VERSION_MISMATCH', 'current_version', l.version)
    END AS refusal
    FROM locked AS l
    CROSS JOIN drafted AS d
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = l.collection
    WHERE l.index <> ALL (d.indexes)
      -- A compressed content may be several times as large.
      AND pg_column_size(l.content) * CASE WHEN pg_column_compression(l.content) IS NULL THEN 1 ELSE 8 END
          <= CAST(:max_cost AS bigint)
    OFFSET 0  -- a fence: each expression is evaluated once
), edited AS (
    SELECT v.*, CASE WHEN v.refusal IS NOT NULL THEN NULL
        WHEN v.kind = 'SHALLOW' THEN (v.content || v.edit, NULL)::draftline.edit_outcome
        ELSE draftline.edit(v.content, v.kind, v.edit, v.depth, :max_bytes, :max_depth) END AS outcome
    FROM validated AS v
    OFFSET 0
), checked AS MATERIALIZED (
    SELECT e.*, (e.outcome).content AS new_content, (e.outcome).content <> e.content AS changes,
        coalesce(e.refusal, (e.outcome).failure, CASE WHEN (e.outcome).content <> e.content
            THEN draftline.content_failure((e.outcome).content, e.indexed_text, :max_bytes,
                CASE WHEN e.kind = 'OPERATIONS' THEN :max_depth END,  -- the caller has checked the depth of other edits
                :max_indexed_text_bytes, :max_nodes) END) AS failure
    FROM edited AS e
), compared AS MATERIALIZED (
    SELECT k.*, d.edit AS forward_edit, d.base AS inverse_edit, d.fields, k.version + k.changes::int AS new_version,
        CASE WHEN k.changes THEN CAST(:now AS timestamptz) ELSE k.updated_at END AS new_updated_at,
        CASE WHEN k.changes THEN k.user_id ELSE k.updated_by END AS new_updated_by
    FROM checked AS k
    LEFT JOIN LATERAL draftline.difference_at(k.content, k.new_content, CASE
        WHEN k.kind IN ('SHALLOW', 'DEEP', 'MERGE_PATCH') THEN k.edit ELSE k.content || k.new_content END) AS d
        ON k.failure IS NULL AND k.changes
), updated AS (
    -- Each record is locked, so each row conflicts with it; unlike a join, this finds it by its key under any plan.
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by,
        updated_at, updated_by, log_xact)
    SELECT :tenant_id, k.collection, k.record_id, k.new_content, k.version + 1, k.created_at, k.created_by,
        CAST(:now AS timestamptz), k.user_id, greatest(draftline.log_xact(), k.log_xact)
    FROM checked AS k
    WHERE k.failure IS NULL AND k.changes
    ON CONFLICT (tenant_id, collection, record_id) DO UPDATE
    SET content = EXCLUDED.content, version = EXCLUDED.version, updated_at = EXCLUDED.updated_at,
        updated_by = EXCLUDED.updated_by, log_xact = EXCLUDED.log_xact
), written AS (
    SELECT k.collection, k.record_id, k.new_version AS version, 'UPDATE' AS kind, CAST(:source AS text) AS source,
        greatest(draftline.log_xact(), k.log_xact) AS log_xact, k.forward_edit AS edit, k.inverse_edit AS base,
        k.fields AS changed_fields, k.content AS old_content, k.new_content, k.history,
        k.parent_id AS old_parent_id, k.parent_id, k.position AS old_position, k.position,
        k.user_id, '' AS session_id, CAST(:commit_id AS uuid) AS commit_id, k.change_reason, k.request_id
    FROM compared AS k
    WHERE k.failure IS NULL AND k.changes
    ORDER BY k.collection, k.record_id
),
-- include: write_tail.orders_of_written
,
-- include: write_tail.end_write
, responses AS (
    SELECT k.user_id, k.request_id, k.fingerprint,
        -- An equal number may be written differently: the record keeps its form, and the response has that of the patch.
        k.history = 'VALUES' AND (k.changes OR k.content::text = k.new_content::text) AS is_rebuilt,
        CASE WHEN NOT k.changes THEN jsonb_build_object('collection', k.collection, 'record_id', k.record_id,
            'created_at', k.created_at, 'updated_at', k.updated_at, 'updated_by', k.updated_by) END AS remainder,
        jsonb_build_object('changed_fields', coalesce(k.fields, '{}')) AS result,
        k.collection, k.record_id, k.new_content AS content, k.new_version AS version, k.parent_id, k.position,
        k.created_at, k.created_by, k.new_updated_at AS updated_at, k.new_updated_by AS updated_by,
        CAST(NULL AS timestamptz) AS deleted_at
    FROM compared AS k
    WHERE k.failure IS NULL
),
-- include: requests.store_record_responses
SELECT k.index, k.failure::text AS failure, k.new_content::text AS content, k.new_version AS version,
    k.parent_id, k.position, k.created_at, k.created_by, k.new_updated_at AS updated_at,
    k.new_updated_by AS updated_by, coalesce(k.fields, '{}') AS changed_fields, k.changes
FROM compared AS k
CROSS JOIN entries
UNION ALL
SELECT p.index, '{"reason": "RECORD_NOT_FOUND"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]))
    WITH ORDINALITY AS p (collection, record_id, index)
WHERE p.index NOT IN (SELECT index FROM locked) AND (
    SELECT true FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id) IS NULL
