-- name: get_content
-- One record, deleted or not.
SELECT record_id, collection, content::text AS content, version, parent_id, position,
       created_at, created_by, updated_at, updated_by, deleted_at
FROM draftline.record
WHERE tenant_id = :tenant_id AND collection = :collection AND record_id = :record_id

-- name: create_content
-- A new record, unless its id is taken, its content over a limit, or the declaration
-- that the caller checked against out of date.
WITH checked AS MATERIALIZED (
    SELECT CASE
        WHEN coalesce(c.version, 0) <> :definition_version THEN '{"reason": "STALE_DEFINITION"}'
        ELSE draftline.content_failure(i.content, coalesce(c.indexed_text, '[]'),
            :max_bytes, :max_depth, :max_indexed_text_bytes)
    END AS failure, i.content
    FROM (SELECT CAST(:content AS jsonb) AS content) AS i
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
), created AS (
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by)
    SELECT :tenant_id, :collection, :record_id, content, 1, :parent_id, :position, :now, :user_id, :now, :user_id
    FROM checked WHERE failure IS NULL
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING record_id
)
SELECT checked.failure::text AS failure, created.record_id IS NOT NULL AS created, checked.content::text AS content
FROM checked LEFT JOIN created ON true

-- name: patch_content
-- Patches of different records of one tenant, in parallel arrays, applied at once. The
-- rows are locked in primary-key order first, and only then read and edited, so that each
-- edit sees the newest content; no two such statements can deadlock. One row answers each
-- patch that found its record, or that may create it; a failure is a value, and keeps that
-- patch alone from being applied.
WITH locked AS MATERIALIZED (
    SELECT p.place, r.collection, r.record_id, r.content, r.version, r.parent_id, r.position,
           r.created_at, r.created_by, r.updated_at, r.updated_by, r.deleted_at,
           p.kind, p.edit, p.depth, p.expected_version, p.condition, p.definition_version,
           CASE WHEN p.sets_parent THEN p.parent_id ELSE r.parent_id END AS new_parent_id,
           coalesce(p.position, r.position) AS new_position
    FROM draftline.record AS r
    JOIN unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:kinds AS text[]),
            CAST(:edits AS jsonb[]), CAST(:depths AS int[]), CAST(:expected_versions AS bigint[]),
            CAST(:conditions AS jsonb[]), CAST(:definition_versions AS bigint[]),
            CAST(:sets_parents AS boolean[]), CAST(:parent_ids AS text[]), CAST(:positions AS bigint[]))
        WITH ORDINALITY AS p (collection, record_id, kind, edit, depth, expected_version, condition,
            definition_version, sets_parent, parent_id, position, place)
        ON r.collection = p.collection AND r.record_id = p.record_id
    WHERE r.tenant_id = :tenant_id
    ORDER BY r.collection, r.record_id
    FOR UPDATE OF r
), found AS (
    SELECT * FROM locked
    UNION ALL
    SELECT p.place, p.collection, p.record_id, '{}', 0, NULL, NULL, :now, :user_id, :now, :user_id, NULL,
           p.kind, p.edit, p.depth, p.expected_version, p.condition, p.definition_version, p.parent_id, p.position
    FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:kinds AS text[]),
            CAST(:edits AS jsonb[]), CAST(:depths AS int[]), CAST(:expected_versions AS bigint[]),
            CAST(:conditions AS jsonb[]), CAST(:definition_versions AS bigint[]),
            CAST(:allow_missings AS boolean[]), CAST(:parent_ids AS text[]), CAST(:positions AS bigint[]))
        WITH ORDINALITY AS p (collection, record_id, kind, edit, depth, expected_version, condition,
            definition_version, allow_missing, parent_id, position, place)
    WHERE p.allow_missing AND p.place NOT IN (SELECT place FROM locked)
), judged AS MATERIALIZED (
    SELECT f.*, coalesce(c.indexed_text, '[]') AS indexed_text, CASE
        WHEN f.deleted_at IS NOT NULL THEN '{"reason": "RECORD_DELETED"}'
        WHEN f.definition_version <> coalesce(c.version, 0) THEN '{"reason": "STALE_DEFINITION"}'
        WHEN f.expected_version <> f.version
            THEN jsonb_build_object('reason', 'VERSION_MISMATCH', 'current_version', f.version)
        WHEN f.condition IS NOT NULL AND (f.version = 0 OR NOT draftline.matches(
                draftline.attributes(f.record_id, f.version, f.parent_id, f.position,
                f.created_at, f.created_by, f.updated_at, f.updated_by), f.content, f.condition))
            THEN '{"reason": "CONDITION_NOT_MET"}'
    END AS refusal
    FROM found AS f
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = f.collection
), edited AS MATERIALIZED (
    SELECT j.*, CASE WHEN j.refusal IS NULL
        THEN draftline.edit(j.content, j.kind, j.edit, j.depth, :max_bytes, :max_depth) END AS outcome
    FROM judged AS j
), checked AS MATERIALIZED (
    SELECT e.*, (e.outcome).content AS new_content,
        e.version = 0 OR (e.outcome).content <> e.content OR e.new_parent_id IS DISTINCT FROM e.parent_id
            OR e.new_position IS DISTINCT FROM e.position AS changes,
        coalesce(e.refusal, (e.outcome).failure, CASE WHEN e.version = 0 OR (e.outcome).content <> e.content
            THEN draftline.content_failure((e.outcome).content, e.indexed_text,
                :max_bytes, :max_depth, :max_indexed_text_bytes) END) AS failure
    FROM edited AS e
), updated AS (
    UPDATE draftline.record AS r
    SET content = k.new_content, version = r.version + 1, parent_id = k.new_parent_id, position = k.new_position,
        updated_at = :now, updated_by = :user_id
    FROM checked AS k
    WHERE r.tenant_id = :tenant_id AND r.collection = k.collection AND r.record_id = k.record_id
      AND k.version > 0 AND k.failure IS NULL AND k.changes
    RETURNING k.place
), created AS (
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by)
    SELECT :tenant_id, k.collection, k.record_id, k.new_content, 1, k.new_parent_id, k.new_position,
        :now, :user_id, :now, :user_id
    FROM checked AS k
    WHERE k.version = 0 AND k.failure IS NULL
    ORDER BY k.collection, k.record_id
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING collection, record_id
), refreshed AS MATERIALIZED (
    SELECT CASE WHEN count(*) > 0 THEN draftline.refresh_drafts(CAST(:tenant_id AS text),
        array_agg(k.collection), array_agg(k.record_id), array_agg(k.new_content)) END AS drafts
    FROM checked AS k
    WHERE k.version > 0 AND k.failure IS NULL AND k.new_content <> k.content
)
SELECT k.place, k.collection, k.record_id, k.created_at, k.created_by,
    CASE WHEN k.version = 0 AND k.failure IS NULL
            AND (k.collection, k.record_id) NOT IN (SELECT collection, record_id FROM created)
        THEN '{"reason": "RACED"}' ELSE k.failure::text END AS failure,
    k.new_content::text AS content, k.version + (k.failure IS NULL AND k.changes)::int AS version,
    k.new_parent_id AS parent_id, k.new_position AS position,
    CASE WHEN k.changes THEN :now ELSE k.updated_at END AS updated_at,
    CASE WHEN k.changes THEN :user_id ELSE k.updated_by END AS updated_by,
    NULL AS deleted_at,
    CASE WHEN k.failure IS NULL AND k.changes
        THEN draftline.changed_fields(k.content, k.new_content) ELSE '{}' END AS changed_fields
FROM checked AS k
CROSS JOIN refreshed

-- name: delete_content
-- Marks one record deleted. No row: there is none.
WITH locked AS MATERIALIZED (
    SELECT * FROM draftline.record
    WHERE tenant_id = :tenant_id AND collection = :collection AND record_id = :record_id
    FOR UPDATE
), judged AS MATERIALIZED (
    SELECT l.*, CASE
        WHEN l.deleted_at IS NOT NULL THEN '{"reason": "RECORD_DELETED"}'
        WHEN coalesce((SELECT c.version FROM draftline.collection AS c
                WHERE c.tenant_id = :tenant_id AND c.collection = :collection), 0) <> :definition_version
            THEN '{"reason": "STALE_DEFINITION"}'
        WHEN CAST(:expected_version AS bigint) <> l.version
            THEN jsonb_build_object('reason', 'VERSION_MISMATCH', 'current_version', l.version)
        WHEN CAST(:condition AS jsonb) IS NOT NULL AND NOT draftline.matches(
                draftline.attributes(l.record_id, l.version, l.parent_id, l.position,
                l.created_at, l.created_by, l.updated_at, l.updated_by), l.content, :condition)
            THEN '{"reason": "CONDITION_NOT_MET"}'
    END AS failure
    FROM locked AS l
), updated AS (
    UPDATE draftline.record AS r
    SET deleted_at = :now, version = r.version + 1, updated_at = :now, updated_by = :user_id
    FROM judged AS j
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = :record_id AND j.failure IS NULL
    RETURNING r.version
)
SELECT j.failure::text AS failure, j.collection, j.record_id, j.content::text AS content,
    coalesce(u.version, j.version) AS version, j.parent_id, j.position, j.created_at, j.created_by,
    CAST(:now AS timestamptz) AS updated_at, CAST(:user_id AS text) AS updated_by,
    CAST(:now AS timestamptz) AS deleted_at
FROM judged AS j LEFT JOIN updated AS u ON true

-- name: undelete_content
-- Brings one record back. No row: there is none.
WITH locked AS MATERIALIZED (
    SELECT * FROM draftline.record
    WHERE tenant_id = :tenant_id AND collection = :collection AND record_id = :record_id
    FOR UPDATE
), judged AS MATERIALIZED (
    SELECT l.*, CASE
        WHEN l.deleted_at IS NULL THEN '{"reason": "RECORD_NOT_DELETED"}'
        WHEN CAST(:expected_version AS bigint) <> l.version
            THEN jsonb_build_object('reason', 'VERSION_MISMATCH', 'current_version', l.version)
    END AS failure
    FROM locked AS l
), updated AS (
    UPDATE draftline.record AS r
    SET deleted_at = NULL, version = r.version + 1, updated_at = :now, updated_by = :user_id
    FROM judged AS j
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = :record_id AND j.failure IS NULL
    RETURNING r.version
)
SELECT j.failure::text AS failure, j.collection, j.record_id, j.content::text AS content,
    coalesce(u.version, j.version) AS version, j.parent_id, j.position, j.created_at, j.created_by,
    CAST(:now AS timestamptz) AS updated_at, CAST(:user_id AS text) AS updated_by, NULL AS deleted_at
FROM judged AS j LEFT JOIN updated AS u ON true

-- name: lock_content
-- The records of patches, locked in primary-key order, as the fetch-merge-replace path reads them.
SELECT p.place, r.collection, r.record_id, r.content::text AS content, r.version, r.parent_id, r.position,
       r.created_at, r.created_by, r.updated_at, r.updated_by, r.deleted_at,
       p.condition IS NULL OR draftline.matches(
            draftline.attributes(r.record_id, r.version, r.parent_id, r.position,
                r.created_at, r.created_by, r.updated_at, r.updated_by), r.content, p.condition) AS condition_met
FROM draftline.record AS r
JOIN unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:conditions AS jsonb[]))
    WITH ORDINALITY AS p (collection, record_id, condition, place)
    ON r.collection = p.collection AND r.record_id = p.record_id
WHERE r.tenant_id = :tenant_id
ORDER BY r.collection, r.record_id
FOR UPDATE OF r

-- name: definition_versions
-- The declared versions of collections, for the fetch-merge-replace path.
SELECT collection, version
FROM draftline.collection
WHERE tenant_id = :tenant_id AND collection = ANY (CAST(:collections AS text[]))

-- name: content_failures
-- Those of some contents that may not be stored, and why.
SELECT * FROM (
    SELECT p.place, draftline.content_failure(p.content, coalesce(c.indexed_text, '[]'),
        :max_bytes, :max_depth, :max_indexed_text_bytes)::text AS failure
    FROM unnest(CAST(:collections AS text[]), CAST(:contents AS jsonb[]))
        WITH ORDINALITY AS p (collection, content, place)
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = p.collection
) AS checked
WHERE failure IS NOT NULL

-- name: replace_content
-- Replaces records that the transaction has locked.
UPDATE draftline.record AS r
SET content = p.content, version = r.version + 1, parent_id = p.parent_id, position = p.position,
    updated_at = :now, updated_by = :user_id
FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:contents AS jsonb[]),
        CAST(:parent_ids AS text[]), CAST(:positions AS bigint[]))
    AS p (collection, record_id, content, parent_id, position)
WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id

-- name: insert_content
-- New records; those whose id was taken meanwhile are not among the answers.
INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
    created_at, created_by, updated_at, updated_by)
SELECT :tenant_id, p.collection, p.record_id, p.content, 1, p.parent_id, p.position, :now, :user_id, :now, :user_id
FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:contents AS jsonb[]),
        CAST(:parent_ids AS text[]), CAST(:positions AS bigint[]))
    AS p (collection, record_id, content, parent_id, position)
ORDER BY p.collection, p.record_id
ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
RETURNING collection, record_id
