-- name: lock_drafts
-- Drafts, locked in primary-key order after their records, and what a commit would meet: the conflicts, and why
-- the content that would be written may not be stored.
WITH locked AS MATERIALIZED (
    SELECT r.record_id, r.content, r.version, r.deleted_at IS NOT NULL AS is_deleted
    FROM draftline.record AS r
    JOIN unnest(CAST(:record_ids AS text[])) AS p (record_id) ON r.record_id = p.record_id
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection
    ORDER BY r.record_id
    FOR UPDATE OF r
), mine AS MATERIALIZED (
    SELECT d.*
    FROM draftline.draft AS d
    JOIN unnest(CAST(:record_ids AS text[])) AS p (record_id) ON d.record_id = p.record_id
    WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
      AND (CAST(:session_id AS text) IS NULL OR d.session_id = CAST(:session_id AS text))
      AND (SELECT count(*) FROM locked) >= 0  -- first the records: who writes one has it before its drafts
    ORDER BY d.record_id
    FOR UPDATE OF d
), found AS (
    -- A LEFT JOIN in effect; see save_drafts.
    SELECT d.*, r.content, r.version AS record_version, coalesce(r.is_deleted, false) AS is_deleted
    FROM mine AS d
    FULL JOIN locked AS r ON r.record_id = d.record_id
    OFFSET 0  -- each step once, for the next
), compared AS (
    SELECT f.*, CASE WHEN f.base_version = coalesce(f.record_version, 0) THEN '[]'
            ELSE draftline.conflicts(f.kind, f.edit, f.base, f.content, f.is_deleted) END AS conflicts
    FROM found AS f
    WHERE f.kind IS NOT NULL
    OFFSET 0
), outcome AS (
    SELECT k.*, CASE WHEN k.kind = 'CHANGE' AND k.conflicts <> '[]' AND :keep_theirs
        THEN draftline.settle(k.edit, k.base, k.content) ELSE k.merged END AS written
    FROM compared AS k
    OFFSET 0
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
-- Writes drafts that are locked with their records, drops them, and tells what the records are then. action: WRITE the
-- merge, SETTLE its conflicts in the record's favour, DELETE the record, or DROP the draft alone. What changes nothing
-- is not written. A record that is not at the version that was judged has raced: only one that was not there yet
-- cannot be locked.
WITH target AS MATERIALIZED (
    SELECT t.*, f.edit AS made_by, f.base AS unmade_by, f.fields,
        t.action <> 'DROP' AND (t.version IS NULL OR f.edit IS NOT NULL
            OR t.deleted_at IS NOT NULL <> (t.action = 'DELETE')) AS changes
    FROM (
        SELECT d.record_id, d.edit AS draft_edit, d.session_id, d.change_reason, p.action, p.version AS judged_version,
            r.content, r.version, r.parent_id, r.position, r.created_at, r.created_by, r.updated_at, r.updated_by,
            r.deleted_at, r.log_xact,
            CASE p.action WHEN 'WRITE' THEN d.merged
                WHEN 'SETTLE' THEN draftline.settle(d.edit, d.base, r.content) ELSE r.content END AS new_content
        FROM unnest(CAST(:record_ids AS text[]), CAST(:actions AS text[]), CAST(:versions AS bigint[]))
            AS p (record_id, action, version)
        JOIN draftline.draft AS d ON d.tenant_id = :tenant_id AND d.user_id = :user_id
            AND d.collection = :collection AND d.record_id = p.record_id
        LEFT JOIN draftline.record AS r
            ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
        OFFSET 0  -- so that each content is made once
    ) AS t
    -- A merge differs from its record where its edit says so and nowhere else.
    LEFT JOIN LATERAL draftline.difference_at(coalesce(t.content, '{}'), t.new_content,
            CASE WHEN t.draft_edit ?| '{v,r}' THEN coalesce(t.content, '{}') || t.new_content
                 ELSE coalesce(t.draft_edit -> 's', '{}') || coalesce(t.draft_edit -> 'm', '{}')
                     || coalesce(t.draft_edit -> 't', '{}') END) AS f
        ON t.action IN ('WRITE', 'SETTLE')
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
    WHERE t.version IS NULL AND t.judged_version = 0
    ORDER BY t.record_id
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING record_id
), dropped AS (
    DELETE FROM draftline.draft AS d
    USING target AS t
    WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
      AND d.record_id = t.record_id
), logged AS (
    INSERT INTO draftline.change (tenant_id, log_xact, collection, record_id, version, kind, source, edit, base,
        snapshot, user_id, session_id, commit_id, change_reason, request_id, created_at)
    SELECT :tenant_id, greatest(draftline.log_xact(), t.log_xact), :collection, t.record_id, coalesce(t.version, 0) + 1,
        CASE WHEN t.version IS NULL THEN 'CREATE' WHEN t.action = 'DELETE' THEN 'DELETE'
             WHEN t.deleted_at IS NOT NULL THEN 'UNDELETE' ELSE 'UPDATE' END, 'COMMIT',
        CASE WHEN t.version IS NULL THEN NULL WHEN t.made_by IS NULL THEN '{}'
             WHEN c.history = 'PATHS' THEN draftline.without_values(t.made_by) ELSE t.made_by END,
        CASE WHEN t.version IS NULL THEN NULL WHEN t.made_by IS NULL THEN '{}'
             WHEN c.history = 'PATHS' THEN NULL ELSE t.unmade_by END,
        CASE WHEN draftline.keeps_snapshot(t.version + 1) AND c.history IS DISTINCT FROM 'PATHS' THEN t.content END,
        :user_id, t.session_id, CAST(:commit_id AS uuid), coalesce(nullif(:change_reason, ''), t.change_reason),
        CAST(:request_id AS uuid), CAST(:now AS timestamptz)
    FROM target AS t
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
    WHERE t.changes
    ORDER BY t.record_id
), told AS (
    -- Where the record was not written, the log tells the draft's user.
    INSERT INTO draftline.change (tenant_id, log_xact, collection, record_id, version, kind, source,
        user_id, session_id, change_reason, created_at)
    SELECT :tenant_id, draftline.log_xact(), :collection, t.record_id, 0, 'DRAFT', 'COMMIT',
        :user_id, t.session_id, '', CAST(:now AS timestamptz)
    FROM target AS t
    WHERE NOT t.changes
)
SELECT t.changes AS written, coalesce(t.fields, '{}') AS changed_fields,
    t.judged_version <> coalesce(t.version, 0) OR (t.changes AND t.record_id NOT IN (
        SELECT record_id FROM updated UNION ALL SELECT record_id FROM created)) AS raced,
    CAST(:collection AS text) AS collection, t.record_id,
    CASE WHEN :with_content THEN t.new_content::text ELSE '' END AS content,
    coalesce(t.version, 0) + t.changes::int AS version, t.parent_id, t.position,
    coalesce(t.created_at, :now) AS created_at, coalesce(t.created_by, :user_id) AS created_by,
    CASE WHEN t.changes THEN :now ELSE t.updated_at END AS updated_at,
    CASE WHEN t.changes THEN :user_id ELSE t.updated_by END AS updated_by,
    CASE WHEN NOT t.changes THEN t.deleted_at WHEN t.action = 'DELETE' THEN CAST(:now AS timestamptz) END AS deleted_at,
    CASE WHEN t.changes AND t.action IN ('WRITE', 'SETTLE') AND NOT t.draft_edit ? 'v'
        THEN draftline.steps_done(t.draft_edit, t.content, t.new_content)::text END AS steps_done
FROM target AS t
