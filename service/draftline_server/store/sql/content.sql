-- name: get_content
-- Return records of one tenant, deleted or not. `index`: the position of the id in the arguments.
SELECT p.index, r.record_id, r.collection, r.content::text AS content, r.version, r.parent_id, r.position,
       r.created_at, r.created_by, r.updated_at, r.updated_by, r.deleted_at
FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]))
    WITH ORDINALITY AS p (collection, record_id, index)
CROSS JOIN LATERAL (  -- a look-up by key for each, whatever the planner knows of the table
    SELECT r.* FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
    OFFSET 0
) AS r

-- name: batch_get_content
-- Return records of one collection, deleted or not. `content` is null from the record on with which the contents, in
-- the order of the arguments, exceed :max_bytes.
SELECT r.record_id, r.collection,
       CASE WHEN sum(octet_length(r.content::text)) OVER (ORDER BY p.index) <= :max_bytes THEN r.content::text END
           AS content,
       r.version, r.parent_id, r.position, r.created_at, r.created_by, r.updated_at, r.updated_by, r.deleted_at
FROM unnest(CAST(:record_ids AS text[])) WITH ORDINALITY AS p (record_id, index)
JOIN draftline.record AS r ON r.record_id = p.record_id
WHERE r.tenant_id = :tenant_id AND r.collection = :collection

-- name: create_content
-- Create a record, unless its id is taken, its content is over a limit, or the spec that the caller validated it
-- against is out of date.
WITH checked AS MATERIALIZED (
    SELECT CASE
        WHEN coalesce(c.version, 0) <> :definition_version THEN '{"reason": "STALE_DEFINITION"}'
        ELSE draftline.content_failure(i.content, coalesce(c.indexed_text, '[]'),
            :max_bytes, :max_depth, :max_indexed_text_bytes, NULL)  -- its values were counted on arrival
    END AS failure, i.content, coalesce(c.history, 'VALUES') AS history
    FROM (SELECT CAST(:content AS jsonb) AS content) AS i
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
), created AS (
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, log_xact)
    SELECT :tenant_id, :collection, :record_id, content, 1, :parent_id, :position, :now, :user_id, :now, :user_id,
        draftline.log_xact()
    FROM checked WHERE failure IS NULL
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING *
), written AS (
    SELECT c.collection, c.record_id, c.version, 'CREATE' AS kind, 'CREATE_CONTENT' AS source, c.log_xact,
        CAST(NULL AS jsonb) AS edit, CAST(NULL AS jsonb) AS base, CAST(NULL AS text[]) AS changed_fields,
        CAST(NULL AS jsonb) AS old_content, c.content AS new_content, CAST(NULL AS text) AS history,
        CAST(NULL AS text) AS old_parent_id, c.parent_id, CAST(NULL AS bigint) AS old_position, c.position,
        CAST(:user_id AS text) AS user_id, '' AS session_id, CAST(NULL AS uuid) AS commit_id,
        CAST(:change_reason AS text) AS change_reason, CAST(:request_id AS uuid) AS request_id
    FROM created AS c
),
-- include: write_tail.orders_of_collection
,
-- include: write_tail.end_write
, responses AS (
    SELECT CAST(:user_id AS text) AS user_id, CAST(:request_id AS uuid) AS request_id,
        CAST(:fingerprint AS bytea) AS fingerprint, k.history = 'VALUES' AS is_rebuilt,
        CASE WHEN CAST(:makes_id AS boolean) THEN jsonb_build_object('record_id', c.record_id) END AS remainder,
        '{}'::jsonb AS result, c.*
    FROM created AS c, checked AS k
),
-- include: requests.store_record_responses
SELECT checked.failure::text AS failure, created.record_id IS NOT NULL AS created, checked.content::text AS content
FROM checked LEFT JOIN created ON true CROSS JOIN entries

-- name: recreate_content
-- Bring a deleted record back with another content, parent and position. Its changes stay in the log, and the time and
-- user of its creation stay as well. No row: there is no such record, deleted or not.
WITH locked AS MATERIALIZED (
    SELECT * FROM draftline.record
    WHERE tenant_id = :tenant_id AND collection = :collection AND record_id = :record_id
    FOR UPDATE
), validated AS MATERIALIZED (
    SELECT l.*, CAST(:content AS jsonb) AS new_content, coalesce(c.history, 'VALUES') AS history, CASE
        WHEN l.deleted_at IS NULL THEN '{"reason": "RECORD_EXISTS"}'
        WHEN coalesce(c.version, 0) <> :definition_version THEN '{"reason": "STALE_DEFINITION"}'
        ELSE draftline.content_failure(CAST(:content AS jsonb), coalesce(c.indexed_text, '[]'),
            :max_bytes, :max_depth, :max_indexed_text_bytes, :max_nodes)
    END AS failure
    FROM locked AS l
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
), compared AS MATERIALIZED (
    SELECT v.*, draftline.difference(v.content, v.new_content) AS difference
    FROM validated AS v
    WHERE v.failure IS NULL
), updated AS (
    UPDATE draftline.record AS r
    SET content = k.new_content, version = r.version + 1, parent_id = :parent_id, position = :position,
        updated_at = :now, updated_by = :user_id, deleted_at = NULL,
        log_xact = greatest(draftline.log_xact(), r.log_xact)
    FROM compared AS k
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = :record_id
    RETURNING r.*
), refreshed AS MATERIALIZED (
    SELECT CASE WHEN count(*) > 0 THEN draftline.refresh_drafts(CAST(:tenant_id AS text),
        array_agg(k.collection), array_agg(k.record_id), array_agg(k.new_content)) END AS drafts
    FROM compared AS k
), written AS (
    SELECT u.collection, u.record_id, u.version, 'UNDELETE' AS kind, CAST(:source AS text) AS source, u.log_xact,
        (k.difference).edit AS edit, (k.difference).base AS base, CAST(NULL AS text[]) AS changed_fields,
        k.content AS old_content, k.new_content, k.history, k.parent_id AS old_parent_id, u.parent_id, k.position AS old_position, u.position,
        CAST(:user_id AS text) AS user_id, '' AS session_id, CAST(:commit_id AS uuid) AS commit_id,
        CAST(:change_reason AS text) AS change_reason, CAST(:request_id AS uuid) AS request_id
    FROM updated AS u, compared AS k
),
-- include: write_tail.orders_of_collection
,
-- include: write_tail.end_write
, responses AS (
    SELECT CAST(:user_id AS text) AS user_id, CAST(:request_id AS uuid) AS request_id,
        CAST(:fingerprint AS bytea) AS fingerprint, k.history = 'VALUES' AS is_rebuilt, CAST(NULL AS jsonb) AS remainder,
        CASE WHEN :with_changed_fields
            THEN jsonb_build_object('changed_fields', draftline.changed_fields('{}', u.content)) ELSE '{}' END AS result,
        u.*
    FROM updated AS u, compared AS k
),
-- include: requests.store_record_responses
SELECT v.failure::text AS failure, v.collection, v.record_id, v.new_content::text AS content,
    coalesce(u.version, v.version) AS version, u.parent_id, u.position, v.created_at, v.created_by,
    CAST(:now AS timestamptz) AS updated_at, CAST(:user_id AS text) AS updated_by, NULL AS deleted_at,
    draftline.changed_fields('{}', v.new_content) AS changed_fields
FROM validated AS v
CROSS JOIN refreshed
CROSS JOIN entries
LEFT JOIN updated AS u ON true

-- fragment: patches
-- The arguments of patch_content as rows.
unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:kinds AS text[]), CAST(:edits AS jsonb[]),
    CAST(:depths AS int[]), CAST(:expected_versions AS bigint[]), CAST(:conditions AS jsonb[]),
    CAST(:definition_versions AS bigint[]), CAST(:allow_missings AS boolean[]), CAST(:sets_parents AS boolean[]),
    CAST(:parent_ids AS text[]), CAST(:positions AS bigint[]), CAST(:user_ids AS text[]), CAST(:weights AS bigint[]))
    WITH ORDINALITY AS p (collection, record_id, kind, edit, depth, expected_version, condition, definition_version,
        allow_missing, sets_parent, parent_id, position, user_id, weight, index)

-- fragment: patched_records
-- The patches in the order of their records, each to be joined with its record `r`, as in plain_patches.sql.
SELECT p.index, r.collection, r.record_id, r.content, r.version, r.parent_id, r.position,
    r.created_at, r.created_by, r.updated_at, r.updated_by, r.deleted_at, r.log_xact,
    p.kind, p.edit, p.depth, p.expected_version, p.condition, p.definition_version, p.user_id, p.weight,
    CASE WHEN p.sets_parent THEN p.parent_id ELSE r.parent_id END AS new_parent_id,
    coalesce(p.position, r.position) AS new_position
FROM (
    SELECT p.* FROM
    -- include: content.patches
    ORDER BY p.collection COLLATE "C", p.record_id COLLATE "C"
) AS p

-- name: patch_content
-- Apply patches of different records of one tenant, in parallel arrays, at once. The rows are locked in primary-key
-- order first, and read and edited only then, so that each edit sees the newest content and no two such statements
-- deadlock. There is one row for each patch that found its record or may create it. A failure is returned as a value,
-- and prevents that patch only.
--
-- Without `waits` the patches belong to different calls, and none may delay the others. Some are then skipped, with the
-- failure LEFT_ALONE and a cause: LOCKED, if the record or a draft over it is locked; MISSING, if the record would be
-- created, unless `creates`; EXPENSIVE, if the size of the content times the steps of the patch is over `max_cost`, or
-- there are more than `max_drafts` drafts. Any other wait, for a record or a request that another transaction is
-- creating, fails the statement after `lock_timeout`.
--
-- `is_locked`: the transaction has locked the records before, in primary-key order. It cannot wait for one that was created
-- since then, because it might hold a lock that another transaction with the new record waits for: the failure is RACED.
WITH waited AS MATERIALIZED (
    -- include: content.patched_records
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
        FOR UPDATE
    ) AS r
    WHERE CAST(:waits AS boolean) AND NOT CAST(:is_locked AS boolean)
), relocked AS MATERIALIZED (
    -- include: content.patched_records
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
        FOR UPDATE SKIP LOCKED
    ) AS r
    WHERE CAST(:is_locked AS boolean)
), unlocked AS MATERIALIZED (
    -- include: content.patched_records
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
        FOR UPDATE SKIP LOCKED
    ) AS r
    WHERE CASE WHEN CAST(:waits AS boolean) THEN false
        ELSE (SELECT set_config('lock_timeout', CAST(:lock_timeout AS text), true)) IS NOT NULL END
), locked AS (
    SELECT * FROM waited UNION ALL SELECT * FROM relocked UNION ALL SELECT * FROM unlocked
), skipped AS MATERIALIZED (
    SELECT p.index
    FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]))
        WITH ORDINALITY AS p (collection, record_id, index)
    WHERE NOT CAST(:waits AS boolean) AND p.index NOT IN (SELECT index FROM unlocked) AND (
        SELECT true FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id)
), drafted AS MATERIALIZED (
    SELECT u.index, u.collection, u.record_id, d.drafts
    FROM unlocked AS u
    CROSS JOIN LATERAL (
        SELECT count(*) AS drafts FROM draftline.draft AS d
        WHERE d.tenant_id = :tenant_id AND d.collection = u.collection AND d.record_id = u.record_id
          AND d.kind <> 'CREATE'
    ) AS d
    WHERE d.drafts > 0
), locked_drafts AS MATERIALIZED (
    SELECT u.index
    FROM (SELECT u.* FROM drafted AS u ORDER BY u.collection, u.record_id) AS u
    CROSS JOIN LATERAL (
        SELECT FROM draftline.draft AS d
        WHERE d.tenant_id = :tenant_id AND d.collection = u.collection AND d.record_id = u.record_id
          AND d.kind <> 'CREATE'
        ORDER BY d.user_id
        FOR UPDATE SKIP LOCKED
    ) AS d
    WHERE u.drafts <= CAST(:max_drafts AS int)
), left_alone AS MATERIALIZED (
    SELECT index, 'LOCKED' AS cause FROM skipped
    UNION ALL
    SELECT u.index, CASE WHEN d.drafts <= CAST(:max_drafts AS int)
        AND u.weight + coalesce(d.drafts, 0) <= u.most_weight THEN 'LOCKED' ELSE 'EXPENSIVE' END
    FROM (
        -- A compressed content may be several times as large; decompressing it to find out would cost too much.
        SELECT index, weight, CAST(:max_cost AS bigint) / greatest(pg_column_size(content)
            * CASE WHEN pg_column_compression(content) IS NULL THEN 1 ELSE 8 END, 1) AS most_weight
        FROM unlocked
    ) AS u
    LEFT JOIN drafted AS d ON d.index = u.index
    WHERE u.weight + coalesce(d.drafts, 0) > u.most_weight
       OR d.drafts > (SELECT count(*) FROM locked_drafts AS l WHERE l.index = u.index)
), found AS (
    SELECT * FROM locked WHERE index NOT IN (SELECT index FROM left_alone)
    UNION ALL
    SELECT p.index, p.collection, p.record_id, '{}', 0, NULL, NULL, :now, p.user_id, :now, p.user_id, NULL, 0,
           p.kind, p.edit, p.depth, p.expected_version, p.condition, p.definition_version, p.user_id,
           p.weight, p.parent_id, p.position
    FROM
    -- include: content.patches
    WHERE p.allow_missing AND p.index NOT IN (SELECT index FROM locked UNION ALL SELECT index FROM skipped)
), validated AS (
    SELECT f.*, coalesce(c.indexed_text, '[]') AS indexed_text, coalesce(c.history, 'VALUES') AS history, CASE
        WHEN f.version = 0 AND NOT CAST(:creates AS boolean) THEN '{"reason": "LEFT_ALONE", "cause": "MISSING"}'
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
    OFFSET 0  -- a fence: each expression is evaluated once
), edited AS (
    SELECT v.*, CASE WHEN v.refusal IS NULL
        THEN draftline.edit(v.content, v.kind, v.edit, v.depth, :max_bytes, :max_depth) END AS outcome
    FROM validated AS v
    OFFSET 0
), checked AS MATERIALIZED (
    SELECT e.*, (e.outcome).content AS new_content,
        e.version = 0 OR (e.outcome).content <> e.content OR e.new_parent_id IS DISTINCT FROM e.parent_id
            OR e.new_position IS DISTINCT FROM e.position AS changes,
        coalesce(e.refusal, (e.outcome).failure, CASE WHEN e.version = 0 OR (e.outcome).content <> e.content
            THEN draftline.content_failure((e.outcome).content, e.indexed_text, :max_bytes,
                -- A merge is no deeper than its parts, and a level takes at least two characters.
                CASE WHEN e.kind = 'OPERATIONS' OR (octet_length(e.edit::text) > 2 * CAST(:max_depth AS int)
                    AND draftline.is_deeper(e.edit, :max_depth)) THEN :max_depth END,
                :max_indexed_text_bytes, :max_nodes) END) AS failure
    FROM edited AS e
), compared AS (
    SELECT k.*, d.edit AS forward_edit, d.base AS inverse_edit, d.fields
    FROM checked AS k
    LEFT JOIN LATERAL draftline.difference_at(k.content, k.new_content, CASE
            WHEN k.kind IN ('SHALLOW', 'DEEP', 'MERGE_PATCH') THEN k.edit ELSE k.content || k.new_content END) AS d
        ON k.version > 0 AND k.failure IS NULL AND k.new_content <> k.content
    OFFSET 0
), updated AS (
    -- Each record is locked, so each row conflicts with it; unlike a join, this finds it by its key under any plan.
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, log_xact)
    SELECT :tenant_id, k.collection, k.record_id, k.new_content, k.version + 1, k.new_parent_id, k.new_position,
        k.created_at, k.created_by, :now, k.user_id, greatest(draftline.log_xact(), k.log_xact)
    FROM checked AS k
    WHERE k.version > 0 AND k.failure IS NULL AND k.changes
    ON CONFLICT (tenant_id, collection, record_id) DO UPDATE
    SET content = EXCLUDED.content, version = EXCLUDED.version, parent_id = EXCLUDED.parent_id,
        position = EXCLUDED.position, updated_at = EXCLUDED.updated_at, updated_by = EXCLUDED.updated_by,
        log_xact = EXCLUDED.log_xact
), created AS (
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, log_xact)
    SELECT :tenant_id, k.collection, k.record_id, k.new_content, 1, k.new_parent_id, k.new_position,
        :now, k.user_id, :now, k.user_id, draftline.log_xact()
    FROM checked AS k
    WHERE k.version = 0 AND k.failure IS NULL
    ORDER BY k.collection, k.record_id
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING collection, record_id
), refreshed AS MATERIALIZED (
    SELECT CASE WHEN count(*) > 0 THEN draftline.refresh_drafts(CAST(:tenant_id AS text),
        array_agg(k.collection), array_agg(k.record_id), array_agg(k.new_content),
        array_agg(CASE WHEN k.kind = 'OPERATIONS' THEN k.content END),
        array_agg(CASE WHEN k.kind = 'OPERATIONS' THEN k.edit END)) END AS drafts
    FROM checked AS k
    WHERE k.version > 0 AND k.failure IS NULL AND k.new_content <> k.content
      AND (SELECT count(*) FROM created) >= 0  -- records, new ones too, are locked before drafts
), answered AS MATERIALIZED (
    SELECT k.index, k.collection, k.record_id, k.created_at, k.created_by,
        CASE WHEN k.version = 0 AND k.failure IS NULL
                AND (k.collection, k.record_id) NOT IN (SELECT collection, record_id FROM created)
            THEN '{"reason": "RACED"}' ELSE k.failure END AS failure,
        k.new_content, k.version + (k.failure IS NULL AND k.changes)::int AS version,
        k.new_parent_id AS parent_id, k.new_position AS position,
        CASE WHEN k.changes THEN :now ELSE k.updated_at END AS updated_at,
        CASE WHEN k.changes THEN k.user_id ELSE k.updated_by END AS updated_by,
        CASE WHEN k.failure IS NULL AND k.version = 0 THEN draftline.changed_fields('{}', k.new_content)
             ELSE coalesce(k.fields, '{}') END AS changed_fields,
        k.changes,
        -- An equal number may be written differently: the record keeps its form, and the response has that of the patch.
        CASE WHEN NOT k.changes THEN k.content::text <> k.new_content::text ELSE false END AS is_reworded,
        k.parent_id AS old_parent_id, k.position AS old_position, k.log_xact, k.forward_edit, k.inverse_edit,
        k.history, k.content AS old_content
    FROM compared AS k
), written AS (
    SELECT a.collection, a.record_id, a.version, CASE WHEN a.version = 1 THEN 'CREATE' ELSE 'UPDATE' END AS kind,
        CAST(:source AS text) AS source, greatest(draftline.log_xact(), a.log_xact) AS log_xact,
        a.forward_edit AS edit, a.inverse_edit AS base, a.changed_fields, a.old_content, a.new_content, a.history,
        a.old_parent_id, a.parent_id, a.old_position, a.position,
        p.user_id, '' AS session_id, CAST(:commit_id AS uuid) AS commit_id, p.change_reason, p.request_id
    FROM answered AS a
    JOIN unnest(CAST(:user_ids AS text[]), CAST(:change_reasons AS text[]), CAST(:request_ids AS uuid[]))
        WITH ORDINALITY AS p (user_id, change_reason, request_id, index) ON p.index = a.index
    WHERE a.failure IS NULL AND a.changes
    ORDER BY a.collection, a.record_id
),
-- include: write_tail.orders_of_written
,
-- include: write_tail.end_write
, responses AS (
    SELECT p.user_id, p.request_id, p.fingerprint, a.history = 'VALUES' AND NOT a.is_reworded AS is_rebuilt,
        CASE WHEN NOT a.changes THEN jsonb_build_object('collection', a.collection, 'record_id', a.record_id,
            'created_at', a.created_at, 'updated_at', a.updated_at, 'updated_by', a.updated_by) END AS remainder,
        jsonb_build_object('changed_fields', a.changed_fields) AS result,
        a.collection, a.record_id, a.new_content AS content, a.version, a.parent_id, a.position,
        a.created_at, a.created_by, a.updated_at, a.updated_by, CAST(NULL AS timestamptz) AS deleted_at
    FROM answered AS a
    JOIN unnest(CAST(:user_ids AS text[]), CAST(:request_ids AS uuid[]), CAST(:fingerprints AS bytea[]))
        WITH ORDINALITY AS p (user_id, request_id, fingerprint, index) ON p.index = a.index
    WHERE a.failure IS NULL
),
-- include: requests.store_record_responses
SELECT a.index, a.failure::text AS failure, a.new_content::text AS content, a.version, a.parent_id, a.position,
    a.created_at, a.created_by, a.updated_at, a.updated_by, a.changed_fields, a.changes
FROM answered AS a
CROSS JOIN refreshed
CROSS JOIN entries
UNION ALL
SELECT index, jsonb_build_object('reason', 'LEFT_ALONE', 'cause', cause)::text,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM left_alone

-- name: delete_content
-- Mark one record deleted. No row: there is no such record. is_guarded: the transaction checks that no other record names it
-- by a relation that is checked.
WITH locked AS MATERIALIZED (
    SELECT * FROM draftline.record
    WHERE tenant_id = :tenant_id AND collection = :collection AND record_id = :record_id
    FOR UPDATE
), validated AS MATERIALIZED (
    SELECT l.*, c.history, CASE
        WHEN l.deleted_at IS NOT NULL THEN '{"reason": "RECORD_DELETED"}'
        WHEN coalesce(c.version, 0) <> :definition_version THEN '{"reason": "STALE_DEFINITION"}'
        WHEN NOT CAST(:is_guarded AS boolean) AND
            -- include: references.is_referred_to
            THEN '{"reason": "STALE_DEFINITION"}'
        WHEN CAST(:expected_version AS bigint) <> l.version
            THEN jsonb_build_object('reason', 'VERSION_MISMATCH', 'current_version', l.version)
        WHEN CAST(:condition AS jsonb) IS NOT NULL AND NOT draftline.matches(
                draftline.attributes(l.record_id, l.version, l.parent_id, l.position,
                l.created_at, l.created_by, l.updated_at, l.updated_by), l.content, :condition)
            THEN '{"reason": "CONDITION_NOT_MET"}'
    END AS failure
    FROM locked AS l
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
), updated AS (
    UPDATE draftline.record AS r
    SET deleted_at = :now, version = r.version + 1, updated_at = :now, updated_by = :user_id,
        log_xact = greatest(draftline.log_xact(), r.log_xact)
    FROM validated AS v
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = :record_id AND v.failure IS NULL
    RETURNING r.*
), written AS (
    SELECT u.collection, u.record_id, u.version, 'DELETE' AS kind, 'DELETE_CONTENT' AS source, u.log_xact,
        CAST(NULL AS jsonb) AS edit, CAST(NULL AS jsonb) AS base, CAST(NULL AS text[]) AS changed_fields,
        u.content AS old_content, u.content AS new_content, v.history,
        u.parent_id AS old_parent_id, u.parent_id, u.position AS old_position, u.position,
        CAST(:user_id AS text) AS user_id, '' AS session_id, CAST(NULL AS uuid) AS commit_id,
        CAST(:change_reason AS text) AS change_reason, CAST(:request_id AS uuid) AS request_id
    FROM updated AS u, validated AS v
),
-- include: write_tail.orders_of_collection
,
-- include: write_tail.end_write
, responses AS (
    SELECT CAST(:user_id AS text) AS user_id, CAST(:request_id AS uuid) AS request_id,
        CAST(:fingerprint AS bytea) AS fingerprint, v.history IS DISTINCT FROM 'PATHS' AS is_rebuilt,
        CAST(NULL AS jsonb) AS remainder, '{}'::jsonb AS result, u.*
    FROM updated AS u, validated AS v
),
-- include: requests.store_record_responses
SELECT v.failure::text AS failure, v.collection, v.record_id, v.content::text AS content,
    coalesce(u.version, v.version) AS version, v.parent_id, v.position, v.created_at, v.created_by,
    CAST(:now AS timestamptz) AS updated_at, CAST(:user_id AS text) AS updated_by,
    CAST(:now AS timestamptz) AS deleted_at
FROM validated AS v LEFT JOIN updated AS u ON true CROSS JOIN entries

-- name: undelete_content
-- Bring one record back, if its content satisfies the collection spec. No row: there is no such record.
WITH locked AS MATERIALIZED (
    SELECT * FROM draftline.record
    WHERE tenant_id = :tenant_id AND collection = :collection AND record_id = :record_id
    FOR UPDATE
), validated AS MATERIALIZED (
    SELECT l.*, c.history, CASE
        WHEN l.deleted_at IS NULL THEN '{"reason": "RECORD_NOT_DELETED"}'
        WHEN coalesce(c.version, 0) <> :definition_version THEN '{"reason": "STALE_DEFINITION"}'
        WHEN CAST(:expected_version AS bigint) <> l.version
            THEN jsonb_build_object('reason', 'VERSION_MISMATCH', 'current_version', l.version)
        ELSE draftline.content_failure(l.content, coalesce(c.indexed_text, '[]'),
            :max_bytes, :max_depth, :max_indexed_text_bytes, :max_nodes)
    END AS failure
    FROM locked AS l
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
), updated AS (
    UPDATE draftline.record AS r
    SET deleted_at = NULL, version = r.version + 1, updated_at = :now, updated_by = :user_id,
        log_xact = greatest(draftline.log_xact(), r.log_xact)
    FROM validated AS v
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = :record_id AND v.failure IS NULL
    RETURNING r.*
), written AS (
    SELECT u.collection, u.record_id, u.version, 'UNDELETE' AS kind, 'UNDELETE_CONTENT' AS source, u.log_xact,
        CAST(NULL AS jsonb) AS edit, CAST(NULL AS jsonb) AS base, CAST(NULL AS text[]) AS changed_fields,
        u.content AS old_content, u.content AS new_content, v.history,
        u.parent_id AS old_parent_id, u.parent_id, u.position AS old_position, u.position,
        CAST(:user_id AS text) AS user_id, '' AS session_id, CAST(NULL AS uuid) AS commit_id,
        CAST(:change_reason AS text) AS change_reason, CAST(:request_id AS uuid) AS request_id
    FROM updated AS u, validated AS v
),
-- include: write_tail.orders_of_collection
,
-- include: write_tail.end_write
, responses AS (
    SELECT CAST(:user_id AS text) AS user_id, CAST(:request_id AS uuid) AS request_id,
        CAST(:fingerprint AS bytea) AS fingerprint, v.history IS DISTINCT FROM 'PATHS' AS is_rebuilt,
        CAST(NULL AS jsonb) AS remainder, '{}'::jsonb AS result, u.*
    FROM updated AS u, validated AS v
),
-- include: requests.store_record_responses
SELECT v.failure::text AS failure, v.collection, v.record_id, v.content::text AS content,
    coalesce(u.version, v.version) AS version, v.parent_id, v.position, v.created_at, v.created_by,
    CAST(:now AS timestamptz) AS updated_at, CAST(:user_id AS text) AS updated_by, NULL AS deleted_at
FROM validated AS v LEFT JOIN updated AS u ON true CROSS JOIN entries

-- name: lock_content
-- Lock the records of patches in primary-key order, but those with an index in :left_out, and return them; for the
-- fetch-merge-replace path.
SELECT p.index, r.collection, r.record_id, r.content::text AS content, r.version, r.parent_id, r.position,
       r.created_at, r.created_by, r.updated_at, r.updated_by, r.deleted_at, r.log_xact,
       p.condition IS NULL OR draftline.matches(
            draftline.attributes(r.record_id, r.version, r.parent_id, r.position,
                r.created_at, r.created_by, r.updated_at, r.updated_by), r.content, p.condition) AS condition_met
FROM (
    SELECT p.*
    FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:conditions AS jsonb[]))
        WITH ORDINALITY AS p (collection, record_id, condition, index)
    WHERE p.index <> ALL (CAST(:left_out AS bigint[]))
    ORDER BY p.collection COLLATE "C", p.record_id COLLATE "C"
) AS p
CROSS JOIN LATERAL (
    SELECT r.* FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
    FOR UPDATE
) AS r

-- name: definition_versions
-- Return the versions of collection specs; for the fetch-merge-replace path.
SELECT collection, version
FROM draftline.collection
WHERE tenant_id = :tenant_id AND collection = ANY (CAST(:collections AS text[]))

-- name: content_failures
-- Return those contents that may not be stored, and why.
SELECT * FROM (
    SELECT p.index, draftline.content_failure(p.content, coalesce(c.indexed_text, '[]'),
        :max_bytes, :max_depth, :max_indexed_text_bytes, :max_nodes)::text AS failure
    FROM unnest(CAST(:collections AS text[]), CAST(:contents AS jsonb[]))
        WITH ORDINALITY AS p (collection, content, index)
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = p.collection
) AS checked
WHERE failure IS NOT NULL

-- name: steps_done
-- Return the transforms among operations, in parallel arrays and in order, that made one content from another.
SELECT draftline.steps_done_by(p.operations, p.old, p.new)::text AS steps_done
FROM unnest(CAST(:operations AS jsonb[]), CAST(:old_contents AS jsonb[]), CAST(:contents AS jsonb[]))
    WITH ORDINALITY AS p (operations, old, new, index)
ORDER BY p.index

-- name: replace_content
-- Replace the contents of records that the transaction has locked. Return them as they are stored.
-- See patch_content for the conflict.
INSERT INTO draftline.record AS r (tenant_id, collection, record_id, content, version, parent_id, position,
    created_at, created_by, updated_at, updated_by, log_xact)
SELECT :tenant_id, p.collection, p.record_id, p.content, s.version + 1, p.parent_id, p.position,
    s.created_at, s.created_by, :now, :user_id, greatest(draftline.log_xact(), s.log_xact)
FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:contents AS jsonb[]),
        CAST(:parent_ids AS text[]), CAST(:positions AS bigint[]))
    AS p (collection, record_id, content, parent_id, position)
CROSS JOIN LATERAL (
    SELECT r.* FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
    OFFSET 0
) AS s
ON CONFLICT (tenant_id, collection, record_id) DO UPDATE
SET content = EXCLUDED.content, version = EXCLUDED.version, parent_id = EXCLUDED.parent_id,
    position = EXCLUDED.position, updated_at = EXCLUDED.updated_at, updated_by = EXCLUDED.updated_by,
    log_xact = EXCLUDED.log_xact
RETURNING r.collection, r.record_id, r.content::text AS content

-- name: insert_content
-- Create records. Those whose id was taken meanwhile are missing from the result.
INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
    created_at, created_by, updated_at, updated_by, log_xact)
SELECT :tenant_id, p.collection, p.record_id, p.content, 1, p.parent_id, p.position, :now, :user_id, :now, :user_id,
    draftline.log_xact()
FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:contents AS jsonb[]),
        CAST(:parent_ids AS text[]), CAST(:positions AS bigint[]))
    AS p (collection, record_id, content, parent_id, position)
ORDER BY p.collection COLLATE "C", p.record_id COLLATE "C"
ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
RETURNING collection, record_id, content::text AS content

-- name: log_content
-- Log records that the transaction has written. The arguments hold their state before the write, NULL for new records.
WITH compared AS MATERIALIZED (  -- computes each difference once, in whatever order the rows are joined
    SELECT u.*, CASE WHEN u.old_content IS NOT NULL
        THEN draftline.difference(u.old_content, u.new_content) END AS difference
    FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:old_contents AS jsonb[]),
            CAST(:contents AS jsonb[]), CAST(:old_parent_ids AS text[]), CAST(:old_positions AS bigint[]))
        AS u (collection, record_id, old_content, new_content, old_parent_id, old_position)
), written AS (
    SELECT r.collection, r.record_id, r.version, CASE WHEN p.old_content IS NULL THEN 'CREATE' ELSE 'UPDATE' END AS kind,
        CAST(:source AS text) AS source, r.log_xact, (p.difference).edit AS edit, (p.difference).base AS base,
        draftline.edited_fields((p.difference).edit) AS changed_fields, p.old_content, p.new_content, c.history, p.old_parent_id, r.parent_id, p.old_position, r.position,
        CAST(:user_id AS text) AS user_id, '' AS session_id, CAST(:commit_id AS uuid) AS commit_id,
        CAST(:change_reason AS text) AS change_reason, CAST(:request_id AS uuid) AS request_id
    FROM compared AS p
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
        OFFSET 0
    ) AS r
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = p.collection
    ORDER BY r.collection, r.record_id
),
-- include: write_tail.orders_of_written
,
-- include: write_tail.end_write
SELECT moved FROM entries
