-- name: lock_drafts
-- Select drafts, and lock them in primary-key order, after their records. Return the conflicts of each, and why the content
-- that a commit would write may not be stored.
WITH
-- include: commits.locked_drafts
, found AS (
    -- In effect a LEFT JOIN; see save_drafts.
    SELECT d.*, r.content, r.version AS record_version, r.parent_id, r.position,
        r.deleted_at IS NOT NULL AS is_deleted
    FROM mine AS d
    FULL JOIN locked AS r ON r.record_id = d.record_id
    OFFSET 0  -- a fence: each expression is evaluated once
), compared AS (
    SELECT f.*, CASE WHEN f.base_version = coalesce(f.record_version, 0) THEN '[]'
            ELSE draftline.draft_conflicts(f.kind, f.edit, f.base, f.attributes, f.content, f.parent_id, f.position,
                f.is_deleted) END AS conflicts
    FROM found AS f
    WHERE f.kind IS NOT NULL
    OFFSET 0
)
SELECT o.record_id, o.kind, o.version, o.record_version, o.is_deleted, o.conflicts::text AS conflicts,
    -- A merge that has not changed since it was checked on saving is not checked again.
    CASE WHEN o.kind <> 'DELETE' AND (o.base_version <> coalesce(o.record_version, 0)
            OR o.definition_version IS DISTINCT FROM coalesce(c.version, 0))
        THEN draftline.content_failure(o.merged, coalesce(c.indexed_text, '[]'),
        :max_bytes, :max_depth, :max_indexed_text_bytes, :max_nodes)::text END AS failure,
    coalesce(c.version, 0) AS definition_version,
    CASE WHEN :with_content THEN o.merged::text END AS written
FROM compared AS o
LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
ORDER BY o.record_id

-- fragment: locked_drafts
-- Select drafts, and lock them in primary-key order, after their records: `mine` and `locked`.
selected AS MATERIALIZED (
    -- include: drafts.selection
), locked AS MATERIALIZED (
    SELECT r.*
    FROM selected AS p
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
        FOR UPDATE
    ) AS r
), mine AS MATERIALIZED (
    SELECT d.*
    FROM selected AS p
    CROSS JOIN LATERAL (
        SELECT d.*, d.ctid AS location FROM draftline.draft AS d
        WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
          AND d.record_id = p.record_id
          AND (CAST(:session_id AS text) IS NULL OR d.session_id = CAST(:session_id AS text))
        FOR UPDATE
    ) AS d
    WHERE (SELECT count(*) FROM locked) >= 0  -- records are locked before drafts, as by every write
)

-- fragment: draft_and_record
-- The user's draft `d` of each record `p`, and the record `r`, each looked up by its key.
CROSS JOIN LATERAL (
    SELECT d.*, d.ctid AS location FROM draftline.draft AS d
    WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection AND d.record_id = p.record_id
    OFFSET 0
) AS d
LEFT JOIN LATERAL (
    SELECT r.* FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
    OFFSET 0
) AS r ON true

-- name: settle_drafts
-- Return the contents of drafts, which are locked with their records, once their conflicts are decided path by path,
-- and why they may not be stored.
SELECT s.record_id, CASE WHEN :with_content THEN s.content::text END AS written,
    draftline.content_failure(s.content, coalesce(c.indexed_text, '[]'),
        :max_bytes, :max_depth, :max_indexed_text_bytes, :max_nodes)::text AS failure
FROM (
    SELECT d.record_id, draftline.decided(d.merged, r.content, p.decisions) AS content
    FROM unnest(CAST(:record_ids AS text[]), CAST(:decisions AS jsonb[])) AS p (record_id, decisions)
    -- include: commits.draft_and_record
    OFFSET 0  -- so that each content is computed once
) AS s
LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection

-- name: judge_resolutions
-- Return, for each resolution of a conflict, in parallel arrays, whose draft is locked with its record: whether the
-- draft has the path; whether the record was, or according to the log may have been, changed there since the version
-- that the user looked at; and the values there. attributes: the name of an attribute, NULL for a path of the content.
SELECT p.index,
    CASE WHEN p.attribute IS NOT NULL THEN coalesce(d.attributes ? p.attribute, false)
         ELSE cardinality(p.path) = 0 OR draftline.has_path(d.edit, p.path) END AS is_known,
    p.version <> coalesce(r.version, 0) AND coalesce((
        SELECT count(*) <> r.version - p.version OR bool_or(CASE
            WHEN p.attribute IS NOT NULL THEN coalesce(c.attributes ? p.attribute, false)
            WHEN cardinality(p.path) = 0 THEN c.kind <> 'UPDATE' OR c.edit <> '{}'
            ELSE c.kind = 'CREATE' OR draftline.touches(c.edit, p.path) END)
        FROM draftline.change AS c
        WHERE c.tenant_id = :tenant_id AND c.collection = :collection AND c.record_id = p.record_id
          AND c.version > p.version AND c.version <= r.version AND c.kind <> 'DRAFT'
    ), true) AS is_outdated,
    CASE WHEN p.attribute IS NOT NULL THEN nullif(d.attributes -> p.attribute -> 0, 'null')
         ELSE draftline.restore(d.base, r.content) #> p.path END::text AS base,
    CASE WHEN p.attribute IS NOT NULL THEN nullif(d.attributes -> p.attribute -> 1, 'null')
         ELSE d.merged #> p.path END::text AS mine,
    CASE WHEN p.attribute IS NOT NULL
         THEN nullif(draftline.own_attributes(r.parent_id, r.position) -> p.attribute, 'null')
         ELSE r.content #> p.path END::text AS theirs
FROM (
    SELECT g.index, g.record_id, g.attribute, g.version, ARRAY(SELECT jsonb_array_elements_text(g.path)) AS path
    FROM unnest(CAST(:record_ids AS text[]), CAST(:attributes AS text[]), CAST(:paths AS jsonb[]),
            CAST(:versions AS bigint[]))
        WITH ORDINALITY AS g (record_id, attribute, path, version, index)
) AS p
-- include: commits.draft_and_record
ORDER BY p.index

-- name: write_drafts
-- Write drafts that are locked with their records, delete them, and return the new state of the records. action: WRITE
-- the merge; SETTLE: write it with its conflicts decided; DELETE the record; or DROP the draft only. A draft that
-- changes nothing is not written. A record is `raced` if it is not at the version of lock_drafts; this happens only if
-- it did not exist then and could not be locked. is_guarded: the transaction checks that no other record names a deleted one;
-- `is_unguarded`: it has to.
WITH target AS MATERIALIZED (
    SELECT t.*, f.edit AS forward_edit, f.base AS inverse_edit, f.fields,
        CASE WHEN t.new_attributes IS NULL THEN t.parent_id ELSE t.new_attributes ->> 'parent_id' END AS new_parent_id,
        CASE WHEN t.new_attributes IS NULL THEN t.position
             ELSE CAST(t.new_attributes ->> 'position' AS bigint) END AS new_position,
        t.action <> 'DROP' AND (t.version IS NULL OR f.edit IS NOT NULL
            OR coalesce(t.new_attributes <> draftline.own_attributes(t.parent_id, t.position), false)
            OR t.deleted_at IS NOT NULL <> (t.action = 'DELETE')) AS changes
    FROM (
        SELECT p.index, d.record_id, d.location AS draft_location, d.version AS draft_version, d.kind AS draft_kind,
            d.edit AS draft_edit, d.merged, d.session_id, d.change_reason, p.action, p.version AS judged_version,
            r.content, r.version, r.parent_id, r.position, r.created_at, r.created_by, r.updated_at, r.updated_by,
            r.deleted_at, r.log_xact,
            CASE p.action WHEN 'WRITE' THEN d.merged
                WHEN 'SETTLE' THEN draftline.decided(d.merged, r.content, p.decisions) ELSE r.content END AS new_content,
            -- NULL: the attributes of the record stay.
            CASE WHEN p.action IN ('WRITE', 'SETTLE') AND (d.attributes IS NOT NULL OR r.deleted_at IS NOT NULL
                    OR p.attribute_decisions <> '{}')
                THEN draftline.decided_attributes(d.attributes,
                    -- A creation that brings a record back starts without attributes.
                    CASE WHEN d.kind = 'CREATE' AND r.deleted_at IS NOT NULL THEN draftline.own_attributes(NULL, NULL)
                         ELSE draftline.own_attributes(r.parent_id, r.position) END, p.attribute_decisions)
                END AS new_attributes
        FROM (
            -- An array may be empty.
            SELECT p.index, p.record_id, coalesce(p.action, 'WRITE') AS action, p.version,
                coalesce(p.decisions, '[]') AS decisions, coalesce(p.attribute_decisions, '{}') AS attribute_decisions
            FROM unnest(CAST(:record_ids AS text[]), CAST(:actions AS text[]), CAST(:versions AS bigint[]),
                    CAST(:decisions AS jsonb[]), CAST(:attribute_decisions AS jsonb[]))
                WITH ORDINALITY AS p (record_id, action, version, decisions, attribute_decisions, index)
        ) AS p
        -- include: commits.draft_and_record
        OFFSET 0  -- so that each content is computed once
    ) AS t
    LEFT JOIN LATERAL draftline.difference_at(coalesce(t.content, '{}'), t.new_content,
            CASE WHEN t.action = 'SETTLE' THEN coalesce(t.content, '{}') || t.new_content ELSE
                -- include: commits.edited_keys
            END) AS f
        ON t.action IN ('WRITE', 'SETTLE')
),
-- include: commits.write_targets

-- name: write_plain_drafts
-- Select and lock drafts as lock_drafts does, and write them as write_drafts does, if all of them are plain: each creates a
-- record, or changes one that is at the version which the draft is based on; it changes the content alone, and was checked for
-- this version of the collection's spec. The spec has no JSON Schema, and the collection no checked relations. If one is not
-- plain, nothing is written, and no row is returned.
WITH
-- include: commits.locked_drafts
, paired AS MATERIALIZED (
    SELECT row_number() OVER () AS index, d.record_id, d.location AS draft_location, d.kind AS draft_kind,
        d.edit AS draft_edit, d.base_version, d.attributes, d.definition_version, d.version AS draft_version, d.merged,
        d.session_id, d.change_reason, r.content, r.version, r.parent_id, r.position, r.created_at, r.created_by,
        r.updated_at, r.updated_by, r.deleted_at, r.log_xact
    FROM mine AS d
    FULL JOIN locked AS r ON r.record_id = d.record_id  -- in effect a LEFT JOIN; see save_drafts
), verdict AS MATERIALIZED (
    SELECT count(*) < :limit AND bool_and(coalesce(t.attributes IS NULL AND t.deleted_at IS NULL
            AND t.draft_kind = CASE WHEN t.version IS NULL THEN 'CREATE' ELSE 'CHANGE' END
            AND t.base_version = coalesce(t.version, 0)
            AND t.definition_version = CAST(:definition_version AS bigint), false))
        AND CAST(:definition_version AS bigint) = coalesce((SELECT c.version FROM draftline.collection AS c
            WHERE c.tenant_id = :tenant_id AND c.collection = :collection), 0) AS is_plain
    FROM paired AS t
), target AS MATERIALIZED (
    SELECT t.*, 'WRITE' AS action, coalesce(t.version, 0) AS judged_version, t.merged AS new_content,
        CAST(NULL AS jsonb) AS new_attributes, t.parent_id AS new_parent_id, t.position AS new_position,
        f.edit AS forward_edit, f.base AS inverse_edit, f.fields, t.version IS NULL OR f.edit IS NOT NULL AS changes
    FROM paired AS t
    LEFT JOIN LATERAL draftline.difference_at(coalesce(t.content, '{}'), t.merged,
            -- include: commits.edited_keys
        ) AS f ON true
    WHERE (SELECT v.is_plain FROM verdict AS v)
),
-- include: commits.write_targets

-- fragment: edited_keys
-- The keys at which the merge of a draft differs from its record: those of its edit.
CASE WHEN t.draft_edit ?| '{v,r}' THEN coalesce(t.content, '{}') || t.merged
     ELSE coalesce(t.draft_edit -> 's', '{}') || coalesce(t.draft_edit -> 'm', '{}')
         || coalesce(t.draft_edit -> 't', '{}') END

-- fragment: write_targets
-- Write, delete or drop the drafts of `target`, and return the new state of the records.
updated AS (
    -- The records are locked; see content.sql.
    INSERT INTO draftline.record AS r (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, deleted_at, log_xact)
    SELECT :tenant_id, :collection, t.record_id, t.new_content, t.version + 1, t.new_parent_id, t.new_position,
        t.created_at, t.created_by, CAST(:now AS timestamptz), :user_id,
        CASE WHEN t.action = 'DELETE' THEN CAST(:now AS timestamptz) END, greatest(draftline.log_xact(), t.log_xact)
    FROM target AS t
    WHERE t.version = t.judged_version AND t.changes
    ON CONFLICT (tenant_id, collection, record_id) DO UPDATE
    SET content = EXCLUDED.content, version = EXCLUDED.version, parent_id = EXCLUDED.parent_id,
        position = EXCLUDED.position, updated_at = EXCLUDED.updated_at, updated_by = EXCLUDED.updated_by,
        deleted_at = EXCLUDED.deleted_at, log_xact = EXCLUDED.log_xact
    RETURNING r.record_id
), created AS (
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, log_xact)
    SELECT :tenant_id, :collection, t.record_id, t.new_content, 1, t.new_parent_id, t.new_position,
        CAST(:now AS timestamptz), :user_id, CAST(:now AS timestamptz), :user_id, draftline.log_xact()
    FROM target AS t
    WHERE t.version IS NULL AND t.judged_version = 0
    ORDER BY t.record_id
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING record_id
), dropped AS MATERIALIZED (
    SELECT draftline.delete_draft_rows(:tenant_id, array_agg(t.draft_location)) AS drafts
    FROM target AS t
), drafted AS MATERIALIZED (
    -- The records that have drafts over them still.
    SELECT draftline.with_drafts(:tenant_id, array_agg(CAST(:collection AS text)), array_agg(t.record_id),
        array_agg(t.index)) AS indexes
    FROM target AS t
    CROSS JOIN dropped
    WHERE t.changes
), written AS (
    SELECT CAST(:collection AS text) AS collection, t.record_id, coalesce(t.version, 0) + 1 AS version,
        CASE WHEN t.version IS NULL THEN 'CREATE' WHEN t.action = 'DELETE' THEN 'DELETE'
             WHEN t.deleted_at IS NOT NULL THEN 'UNDELETE' ELSE 'UPDATE' END AS kind,
        'COMMIT' AS source, greatest(draftline.log_xact(), t.log_xact) AS log_xact,
        t.forward_edit AS edit, t.inverse_edit AS base, t.fields AS changed_fields, t.content AS old_content, t.new_content,
        c.history,
        t.parent_id AS old_parent_id, t.new_parent_id AS parent_id,
        t.position AS old_position, t.new_position AS position, CAST(:user_id AS text) AS user_id, t.session_id,
        CAST(:commit_id AS uuid) AS commit_id,
        coalesce(nullif(CAST(:change_reason AS text), ''), t.change_reason) AS change_reason,
        CAST(:request_id AS uuid) AS request_id
    FROM target AS t
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
    WHERE t.changes
    ORDER BY t.record_id
),
-- include: write_tail.orders_of_collection
,
-- include: write_tail.end_write
, changed_drafts AS (
    -- The log entry of a written record reaches the draft's user as well.
    SELECT 'COMMIT' AS source, CAST(:user_id AS text) AS user_id, CAST(:collection AS text) AS collection,
        t.record_id, t.session_id
    FROM target AS t
    WHERE NOT t.changes
),
-- include: write_tail.log_drafts
, moved_drafts AS (
    SELECT CAST(:user_id AS text) AS user_id, CAST(:collection AS text) AS collection, t.record_id,
        t.draft_kind AS old_kind, t.merged AS old_merged, CAST(NULL AS text) AS new_kind,
        CAST(NULL AS jsonb) AS new_merged, CASE WHEN t.deleted_at IS NULL THEN t.content END AS live
    FROM target AS t
),
-- include: write_tail.move_draft_entries
SELECT t.draft_version, t.changes AS written, coalesce(t.fields, '{}') AS changed_fields,
    CASE WHEN t.new_attributes IS NULL THEN '{}' ELSE ARRAY(
        SELECT n.key FROM jsonb_each(t.new_attributes) AS n
        WHERE n.value <> draftline.own_attributes(t.parent_id, t.position) -> n.key ORDER BY n.key
    ) END AS changed_attributes,
    t.changes AND t.action = 'DELETE' AND NOT CAST(:is_guarded AS boolean) AND
        -- include: references.is_referred_to
        AS is_unguarded,
    t.judged_version <> coalesce(t.version, 0) OR (t.changes AND t.record_id NOT IN (
        SELECT record_id FROM updated UNION ALL SELECT record_id FROM created)) AS raced,
    t.record_id, CASE WHEN :with_content THEN t.new_content::text ELSE '' END AS content,
    coalesce(t.version, 0) + t.changes::int AS version, t.new_parent_id AS parent_id, t.new_position AS position,
    timestamptz_send(coalesce(t.created_at, :now)) AS created_at, coalesce(t.created_by, :user_id) AS created_by,
    timestamptz_send(CASE WHEN t.changes THEN :now ELSE t.updated_at END) AS updated_at,
    CASE WHEN t.changes THEN :user_id ELSE t.updated_by END AS updated_by,
    CASE WHEN NOT t.changes THEN t.deleted_at WHEN t.action = 'DELETE' THEN CAST(:now AS timestamptz) END AS deleted_at,
    t.index IN (SELECT unnest(d.indexes) FROM drafted AS d) AS is_drafted,
    -- The members of an edit that may hold transforms.
    CASE WHEN t.changes AND t.action IN ('WRITE', 'SETTLE') AND NOT t.draft_edit ? 'v' AND t.draft_edit ?| '{m,t}'
        THEN draftline.steps_done(t.draft_edit, t.content, t.new_content)::text END AS steps_done
FROM target AS t
CROSS JOIN dropped
CROSS JOIN entries
CROSS JOIN draft_entries
