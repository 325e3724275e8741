-- name: lock_records
-- Records, locked in primary-key order.
SELECT r.record_id
FROM draftline.record AS r
JOIN unnest(CAST(:record_ids AS text[])) AS p (record_id) ON r.record_id = p.record_id
WHERE r.tenant_id = :tenant_id AND r.collection = :collection
ORDER BY r.record_id
FOR UPDATE OF r

-- name: lock_drafts
-- Drafts whose records are locked, and what a commit would meet: the conflicts, and why the content
-- that would be written may not be stored.
WITH locked AS MATERIALIZED (
    SELECT d.*
    FROM draftline.draft AS d
    JOIN unnest(CAST(:record_ids AS text[])) AS p (record_id) ON d.record_id = p.record_id
    WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
      AND (CAST(:session_id AS text) IS NULL OR d.session_id = CAST(:session_id AS text))
    ORDER BY d.record_id
    FOR UPDATE OF d
), compared AS MATERIALIZED (
    SELECT d.*, r.version AS record_version, coalesce(r.deleted_at IS NOT NULL, false) AS is_deleted,
        CASE WHEN d.base_version = coalesce(r.version, 0) THEN '[]'
             ELSE draftline.conflicts(d.kind, d.edit, d.base, r.content, coalesce(r.deleted_at IS NOT NULL, false))
        END AS conflicts, r.content
    FROM locked AS d
    LEFT JOIN draftline.record AS r
        ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = d.record_id
), outcome AS MATERIALIZED (
    SELECT k.*, CASE WHEN k.kind = 'CHANGE' AND k.conflicts <> '[]' AND :keep_theirs
        THEN draftline.settle(k.edit, k.base, k.content) ELSE k.merged END AS written
    FROM compared AS k
)
SELECT o.record_id, o.kind, o.version, o.record_version, o.is_deleted, o.conflicts::text AS conflicts,
    -- What was checked when it was saved, and is what it was, needs no second look.
    CASE WHEN o.kind <> 'DELETE' AND (o.base_version <> coalesce(o.record_version, 0)
            OR o.definition_version IS DISTINCT FROM coalesce(c.version, 0))
        THEN draftline.content_failure(o.written, coalesce(c.indexed_text, '[]'),
        :max_bytes, :max_depth, :max_indexed_text_bytes)::text END AS failure,
    coalesce(c.version, 0) AS definition_version,
    CASE WHEN :with_content THEN o.written::text END AS written
FROM outcome AS o
LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
ORDER BY o.record_id

-- name: write_drafts
-- Writes drafts that are locked with their records. action: WRITE the merge, SETTLE its conflicts in
-- the record's favour, DELETE the record. What changes nothing is not written. A record that is not
-- at the version that was judged has raced: only one that was not there yet cannot be locked.
WITH target AS MATERIALIZED (
    SELECT t.*, t.old_version IS NULL OR t.new_content <> t.old_content
            OR t.was_deleted <> (t.action = 'DELETE') AS changes,
        CASE WHEN t.new_content <> t.old_content
            THEN draftline.difference(t.old_content, t.new_content) END AS difference
    FROM (
        SELECT d.record_id, p.action, p.version AS judged_version, r.content AS old_content,
            d.session_id, d.change_reason, r.log_xact,
            r.version AS old_version, r.deleted_at IS NOT NULL AS was_deleted,
            CASE p.action WHEN 'DELETE' THEN r.content
                WHEN 'SETTLE' THEN draftline.settle(d.edit, d.base, r.content) ELSE d.merged END AS new_content
        FROM unnest(CAST(:record_ids AS text[]), CAST(:actions AS text[]), CAST(:versions AS bigint[]))
            AS p (record_id, action, version)
        JOIN draftline.draft AS d ON d.tenant_id = :tenant_id AND d.user_id = :user_id
            AND d.collection = :collection AND d.record_id = p.record_id
        LEFT JOIN draftline.record AS r
            ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
    ) AS t
), updated AS (
    UPDATE draftline.record AS r
    SET content = t.new_content, version = r.version + 1, updated_at = :now, updated_by = :user_id,
        deleted_at = CASE WHEN t.action = 'DELETE' THEN CAST(:now AS timestamptz) END,
        log_xact = greatest(draftline.log_xact(), r.log_xact)
    FROM target AS t
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = t.record_id
      AND r.version = t.judged_version AND t.changes
    RETURNING r.record_id
), created AS (
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version,
        created_at, created_by, updated_at, updated_by, log_xact)
    SELECT :tenant_id, :collection, t.record_id, t.new_content, 1,
        CAST(:now AS timestamptz), :user_id, CAST(:now AS timestamptz), :user_id, draftline.log_xact()
    FROM target AS t
    WHERE t.old_version IS NULL AND t.judged_version = 0
    ORDER BY t.record_id
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING record_id
), judged AS MATERIALIZED (
    SELECT t.*, t.record_id IN (SELECT record_id FROM updated)
        OR t.record_id IN (SELECT record_id FROM created) AS written
    FROM target AS t
), logged AS (
    INSERT INTO draftline.change (tenant_id, log_xact, collection, record_id, version, kind, source, edit, base,
        user_id, session_id, commit_id, change_reason, request_id, created_at)
    SELECT :tenant_id, greatest(draftline.log_xact(), j.log_xact), :collection, j.record_id,
        coalesce(j.old_version, 0) + 1,
        CASE WHEN j.old_version IS NULL THEN 'CREATE' WHEN j.action = 'DELETE' THEN 'DELETE'
             WHEN j.was_deleted THEN 'UNDELETE' ELSE 'UPDATE' END, 'COMMIT',
        CASE WHEN j.old_version IS NULL THEN NULL WHEN (j.difference).edit IS NULL THEN '{}'
             WHEN c.history = 'PATHS' THEN draftline.without_values((j.difference).edit) ELSE (j.difference).edit END,
        CASE WHEN j.old_version IS NULL THEN NULL WHEN (j.difference).edit IS NULL THEN '{}'
             WHEN c.history = 'PATHS' THEN NULL ELSE (j.difference).base END,
        :user_id, j.session_id, CAST(:commit_id AS uuid), coalesce(nullif(:change_reason, ''), j.change_reason),
        CAST(:request_id AS uuid), CAST(:now AS timestamptz)
    FROM judged AS j
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
    WHERE j.written
    ORDER BY j.record_id
)
SELECT record_id, written, (changes AND NOT written) OR judged_version <> coalesce(old_version, 0) AS raced,
    CASE WHEN old_version IS NULL THEN draftline.changed_fields('{}', new_content)
         WHEN (difference).edit IS NULL THEN '{}' ELSE draftline.edited_fields((difference).edit) END AS changed_fields
FROM judged

-- name: read_records
-- Records as they are now.
SELECT r.record_id, r.collection, CASE WHEN :with_content THEN r.content::text ELSE '' END AS content, r.version,
       r.parent_id, r.position, r.created_at, r.created_by, r.updated_at, r.updated_by, r.deleted_at
FROM draftline.record AS r
JOIN unnest(CAST(:record_ids AS text[])) AS p (record_id) ON r.record_id = p.record_id
WHERE r.tenant_id = :tenant_id AND r.collection = :collection

-- name: forget_drafts
-- Drops drafts that the transaction has locked. Where the record was not written, the log tells the draft's user.
WITH dropped AS (
    DELETE FROM draftline.draft AS d
    USING unnest(CAST(:record_ids AS text[])) AS p (record_id)
    WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
      AND d.record_id = p.record_id
    RETURNING d.record_id, d.session_id
)
INSERT INTO draftline.change (tenant_id, log_xact, collection, record_id, version, kind, source,
    user_id, session_id, change_reason, created_at)
SELECT :tenant_id, draftline.log_xact(), :collection, record_id, 0, 'DRAFT', 'COMMIT',
    :user_id, session_id, '', CAST(:now AS timestamptz)
FROM dropped
WHERE record_id NOT IN (SELECT unnest(CAST(:written_ids AS text[])))
