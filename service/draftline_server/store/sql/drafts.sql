-- name: save_drafts
-- Compose edits of different records of one collection, in parallel arrays, onto the drafts of one user. The records
-- are locked FOR SHARE, in primary-key order: a patch that is running finishes first, and a later one sees these drafts
-- (see draftline.refresh_drafts). There is one row for each edit. A failure is returned as a value, and prevents saving
-- that edit only. The statement fails if another transaction has created one of the drafts meanwhile, or if a new draft
-- has an entry already: save_drafts_again then takes its place.
-- include: drafts.checked_edits
created AS (
    -- include: drafts.add_drafts
),
-- include: drafts.log_saved
,
-- include: write_tail.add_draft_entries
SELECT k.failure::text AS failure,
    -- include: drafts.saved

-- name: save_drafts_again
-- Do the same as save_drafts, but slower and under any circumstances. An edit that another transaction has raced is returned
-- as a failure.
-- include: drafts.checked_edits
created AS (
    -- include: drafts.add_drafts
    ON CONFLICT (tenant_id, user_id, collection, record_id) DO NOTHING
    RETURNING record_id
),
-- include: drafts.log_saved
,
-- include: write_tail.move_draft_entries
SELECT CASE WHEN k.failure IS NULL AND k.draft_version = 0 AND k.record_id NOT IN (SELECT record_id FROM created)
        THEN '{"reason": "RACED"}' ELSE k.failure::text END AS failure,
    -- include: drafts.saved

-- fragment: checked_edits
-- Lock the records and drafts, and compose, check and merge the edits: `checked`. Store the drafts that exist already.
WITH locked AS MATERIALIZED (
    SELECT r.*
    FROM (
        SELECT p.record_id FROM unnest(CAST(:record_ids AS text[])) AS p (record_id) ORDER BY p.record_id COLLATE "C"
    ) AS p
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
        FOR SHARE
    ) AS r
), mine AS MATERIALIZED (
    SELECT d.*
    FROM (
        SELECT p.record_id FROM unnest(CAST(:record_ids AS text[])) AS p (record_id) ORDER BY p.record_id COLLATE "C"
    ) AS p
    CROSS JOIN LATERAL (
        SELECT d.* FROM draftline.draft AS d
        WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
          AND d.record_id = p.record_id
        FOR UPDATE
    ) AS d
    WHERE (SELECT count(*) FROM locked) >= 0  -- records are locked before drafts, as by every write
), validated AS (
    SELECT p.index, p.record_id, p.action, p.edit, p.sets, p.base_version IS NOT NULL AS is_rebased,
        r.content, coalesce(r.version, 0) AS record_version, r.parent_id, r.position, r.created_at, r.created_by, r.updated_at, r.updated_by, r.deleted_at,
        coalesce(d.version, 0) AS draft_version, d.created_at AS draft_created_at,
        CASE WHEN p.replaces THEN NULL ELSE d.kind END AS old_kind,
        CASE WHEN NOT p.replaces THEN d.edit END AS old_edit,
        CASE WHEN NOT p.replaces THEN d.base END AS old_base,
        CASE WHEN NOT p.replaces THEN d.base_version END AS old_base_version,
        CASE WHEN NOT p.replaces THEN d.merged END AS old_merged, d.merged AS stored_merged, d.kind AS stored_kind,
        CASE WHEN NOT p.replaces THEN d.attributes END AS old_attributes,
        draftline.revives(p.allow_deleted, p.action, r.deleted_at IS NOT NULL,
            CASE WHEN NOT p.replaces THEN d.kind END) AS revives,
        CASE
            WHEN p.expected_draft_version <> coalesce(d.version, 0) THEN
                jsonb_build_object('reason', 'DRAFT_VERSION_MISMATCH',
                    'current_draft_version', coalesce(d.version, 0))
            WHEN d.session_id <> :session_id AND NOT :move_to_session THEN
                jsonb_build_object('reason', 'DRAFT_IN_OTHER_SESSION', 'session_id', d.session_id)
            WHEN p.base_version <> coalesce(r.version, 0) THEN
                jsonb_build_object('reason', 'VERSION_MISMATCH', 'current_version', coalesce(r.version, 0))
            WHEN draftline.revives(p.allow_deleted, p.action, r.deleted_at IS NOT NULL,
                CASE WHEN NOT p.replaces THEN d.kind END) THEN NULL
            WHEN p.action = 'CREATE' AND r.deleted_at IS NOT NULL AND (d.kind IS NULL OR p.replaces) THEN
                '{"reason": "RECORD_DELETED", "is_draft": true}'
            WHEN p.action = 'CREATE' AND d.kind = 'DELETE' AND NOT p.replaces THEN NULL
            WHEN p.action = 'CREATE' AND (r.record_id IS NOT NULL OR (d.kind IS NOT NULL AND NOT p.replaces)) THEN
                '{"reason": "RECORD_EXISTS"}'
            WHEN p.action = 'CREATE' OR (d.kind = 'CREATE' AND NOT p.replaces) THEN NULL
            WHEN r.record_id IS NULL THEN '{"reason": "RECORD_NOT_FOUND"}'
            WHEN r.deleted_at IS NOT NULL AND (d.kind IS NULL OR p.replaces)
                THEN '{"reason": "RECORD_DELETED", "is_draft": true}'
            WHEN d.kind = 'DELETE' AND p.action <> 'DELETE' AND NOT p.replaces THEN
                '{"reason": "DRAFT_DELETES_RECORD"}'
        END AS refusal
    FROM (
        -- An array may be empty.
        SELECT p.index, p.record_id, coalesce(p.action, 'CHANGE') AS action, p.edit, p.expected_draft_version,
            p.base_version, coalesce(p.replaces, false) AS replaces, p.sets,
            coalesce(p.allow_deleted, false) AS allow_deleted
        FROM unnest(CAST(:record_ids AS text[]), CAST(:actions AS text[]), CAST(:edits AS jsonb[]),
                CAST(:expected_draft_versions AS bigint[]), CAST(:base_versions AS bigint[]),
                CAST(:replaces AS boolean[]), CAST(:attribute_sets AS jsonb[]), CAST(:allow_deleteds AS boolean[]))
            WITH ORDINALITY AS p (record_id, action, edit, expected_draft_version, base_version, replaces, sets,
                allow_deleted, index)
    ) AS p
    -- In effect LEFT JOINs, because every record is among the arguments. A full join is never executed as nested
    -- loops, which the planner would choose, as it expects ten arguments, and which take 50 ms for a thousand.
    FULL JOIN locked AS r ON r.record_id = p.record_id
    FULL JOIN mine AS d ON d.record_id = p.record_id
    OFFSET 0  -- a fence: each expression is evaluated once
), resolved AS (
    -- The edit alone, and the content on which paths are based that are edited for the first time.
    SELECT v.*,
        CASE WHEN refusal IS NOT NULL THEN NULL
             WHEN action = 'OPERATIONS' THEN draftline.edit_of_operations(
                coalesce(old_merged, content), edit, :max_bytes, :max_depth)
             ELSE CAST(ROW(CASE action WHEN 'CREATE' THEN jsonb_build_object('v', edit) ELSE edit END, NULL)
                AS draftline.edit_outcome)
        END AS step,
        CASE WHEN refusal IS NULL THEN draftline.restore(coalesce(old_base, '{}'), content) END AS basis
    FROM validated AS v
    OFFSET 0
), composed AS (
    -- A creation that is saved again for a version of the record, which was created meanwhile, becomes a change.
    SELECT r.*,
        CASE WHEN action = 'DELETE' THEN 'DELETE' WHEN revives THEN 'CREATE'
             WHEN old_kind = 'CREATE' AND is_rebased AND deleted_at IS NULL THEN 'CHANGE'
             WHEN old_kind = 'CREATE' THEN 'CREATE'
             WHEN action = 'CREATE' AND old_kind IS NULL THEN 'CREATE' ELSE 'CHANGE' END AS new_kind,
        CASE WHEN revives
             THEN jsonb_build_object('v', draftline.apply_edit((step).content, coalesce(old_merged, content)))
             WHEN old_edit IS NULL THEN (step).content
             ELSE draftline.compose(old_edit, (step).content) END AS edited
    FROM resolved AS r
    OFFSET 0
), seen AS (
    -- An edit that names the version of the record which the user looked at is based on the current content.
    SELECT c.*, CASE WHEN NOT is_rebased OR (step).failure IS NOT NULL THEN basis
        WHEN new_kind = 'DELETE' THEN content
        ELSE draftline.seen_basis((step).content, edited, basis, content) END AS new_basis
    FROM composed AS c
    OFFSET 0
), rebased AS (
    -- An edit that only sets keys, as nearly every edit does, is rebased here: `plain_edit`.
    SELECT c.*, plain.edit AS plain_edit, plain.base AS plain_base, plain.fields, CASE
        WHEN new_kind = 'DELETE' THEN CAST(ROW('{}', jsonb_build_object('v', new_basis)) AS draftline.based_edit)
        WHEN new_kind = 'CREATE' THEN CAST(ROW(edited, '{}') AS draftline.based_edit)
        WHEN plain.edit IS NULL THEN draftline.rebase(edited, new_basis, content) END AS stored
    FROM seen AS c
    LEFT JOIN LATERAL draftline.rebase_sets(edited -> 's', new_basis, content) AS plain
        ON new_kind = 'CHANGE' AND edited ? 's' AND edited - 's' = '{}'
    OFFSET 0
), merged AS (
    SELECT r.*, coalesce(plain_edit, (stored).edit) AS new_edit, coalesce(plain_base, (stored).base) AS new_base,
        CASE WHEN plain_edit IS NOT NULL THEN coalesce(content, '{}') || coalesce(plain_edit -> 's', '{}')
             ELSE draftline.apply_edit((stored).edit, content) END AS new_merged,
        CASE WHEN sets IS NOT NULL OR old_attributes IS NOT NULL OR new_kind = 'DELETE' OR revives
             THEN draftline.draft_attributes(new_kind, CASE WHEN NOT revives THEN old_attributes END,
                CASE WHEN revives AND action <> 'CREATE' THEN draftline.own_attributes(
                        draftline.drafted_parent_id(old_attributes, parent_id),
                        draftline.drafted_position(old_attributes, position)) || coalesce(sets, '{}')
                     ELSE sets END,
                CASE WHEN new_kind = 'CREATE' THEN draftline.own_attributes(NULL, NULL)
                     ELSE draftline.own_attributes(parent_id, position) END,
                is_rebased) END AS new_attributes,
        -- A creation that brings a record back starts without attributes.
        CASE WHEN new_kind <> 'CREATE' OR deleted_at IS NULL THEN parent_id END AS own_parent_id,
        CASE WHEN new_kind <> 'CREATE' OR deleted_at IS NULL THEN position END AS own_position
    FROM rebased AS r
    OFFSET 0
), checked AS MATERIALIZED (
    SELECT m.*, new_kind = 'DELETE' AND coalesce(old_kind = 'CREATE', false) AS vanishes,
        coalesce(c.version, 0) AS definition_version,
        coalesce(refusal, (step).failure, CASE WHEN new_kind <> 'DELETE' THEN draftline.content_failure(new_merged,
            coalesce(c.indexed_text, '[]'), :max_bytes,
            -- A merge is no deeper than its parts, and a level takes at least two characters.
            CASE WHEN action = 'OPERATIONS' OR (octet_length(edit::text) > 2 * CAST(:max_depth AS int)
                AND draftline.is_deeper(edit, :max_depth)) THEN :max_depth END,
            :max_indexed_text_bytes, :max_nodes) END) AS failure
    FROM merged AS m
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
), updated AS (
    -- Each draft is locked, so each row conflicts with it; unlike a join, this finds it by its key under any plan.
    INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged,
        attributes, version, session_id, change_reason, created_at, updated_at, definition_version)
    SELECT :tenant_id, :user_id, :collection, k.record_id, k.new_kind, k.new_edit, k.new_base,
        CASE WHEN k.revives THEN k.record_version ELSE coalesce(k.old_base_version, k.record_version) END,
        k.new_merged, k.new_attributes, k.draft_version + 1, :session_id, :change_reason, k.draft_created_at,
        CAST(:now AS timestamptz), k.definition_version
    FROM checked AS k
    WHERE k.failure IS NULL AND k.draft_version > 0 AND NOT k.vanishes
    ON CONFLICT (tenant_id, user_id, collection, record_id) DO UPDATE
    SET kind = EXCLUDED.kind, edit = EXCLUDED.edit, base = EXCLUDED.base, base_version = EXCLUDED.base_version,
        merged = EXCLUDED.merged, attributes = EXCLUDED.attributes, version = EXCLUDED.version,
        session_id = EXCLUDED.session_id, change_reason = EXCLUDED.change_reason, updated_at = EXCLUDED.updated_at,
        definition_version = EXCLUDED.definition_version
), vanished AS MATERIALIZED (
    SELECT draftline.delete_drafts(:tenant_id, :collection, array_agg(CAST(:user_id AS text)), array_agg(k.record_id)) AS drafts
    FROM checked AS k
    WHERE k.failure IS NULL AND k.draft_version > 0 AND k.vanishes
),

-- fragment: add_drafts
-- Insert the new drafts of `checked`. What follows ends the insertion.
INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged,
    attributes, version, session_id, change_reason, created_at, updated_at, definition_version)
SELECT :tenant_id, :user_id, :collection, k.record_id, k.new_kind, k.new_edit, k.new_base, k.record_version,
    k.new_merged, k.new_attributes, 1, :session_id, :change_reason, CAST(:now AS timestamptz), CAST(:now AS timestamptz),
    k.definition_version
FROM checked AS k
WHERE k.failure IS NULL AND k.draft_version = 0
ORDER BY k.record_id

-- fragment: log_saved
-- Log the drafts of `checked`, and list them for the moves of their entries.
changed_drafts AS (
    SELECT 'SAVE_DRAFT' AS source, CAST(:user_id AS text) AS user_id, CAST(:collection AS text) AS collection,
        k.record_id, CAST(:session_id AS text) AS session_id
    FROM checked AS k
    WHERE k.failure IS NULL
),
-- include: write_tail.log_drafts
, moved_drafts AS (
    SELECT CAST(:user_id AS text) AS user_id, CAST(:collection AS text) AS collection, k.record_id,
        k.stored_kind AS old_kind, k.stored_merged AS old_merged,
        CASE WHEN NOT k.vanishes THEN k.new_kind END AS new_kind,
        CASE WHEN NOT k.vanishes THEN k.new_merged END AS new_merged,
        CASE WHEN k.deleted_at IS NULL THEN k.content END AS live
    FROM checked AS k
    WHERE k.failure IS NULL
)

-- fragment: saved
-- The other columns of the result, and where all come from.
k.index, k.record_id,
    k.vanishes, CASE WHEN NOT :omit_content THEN k.new_merged::text END AS content, k.record_version AS version,
    draftline.drafted_parent_id(k.new_attributes, k.own_parent_id) AS parent_id,
    draftline.drafted_position(k.new_attributes, k.own_position) AS position,
    CASE WHEN k.new_attributes IS NULL THEN '{}'
         ELSE draftline.modified_attributes(k.new_attributes, k.own_parent_id, k.own_position) END AS modified_attributes,
    timestamptz_send(coalesce(k.created_at, k.draft_created_at, :now)) AS created_at,
    coalesce(k.created_by, :user_id) AS created_by,
    timestamptz_send(coalesce(k.updated_at, :now)) AS updated_at, coalesce(k.updated_by, :user_id) AS updated_by,
    CASE WHEN k.new_kind <> 'CREATE' THEN k.deleted_at END AS deleted_at, k.new_kind AS draft_kind,
    k.draft_version + 1 AS draft_version,
    CASE WHEN k.failure IS NULL THEN coalesce(k.fields,
        draftline.modified_fields(k.new_kind, k.new_edit, k.content, k.new_merged)) END AS modified_fields,
    CASE WHEN k.failure IS NULL AND (k.old_base_version <> k.record_version OR k.deleted_at IS NOT NULL)
        THEN draftline.draft_conflicts(k.new_kind, k.new_edit, k.new_base, k.new_attributes, k.content,
            k.parent_id, k.position, k.deleted_at IS NOT NULL)::text
        ELSE '[]' END AS conflicts
FROM checked AS k
CROSS JOIN vanished
CROSS JOIN draft_entries

-- name: select_drafts
-- Return the selected drafts, in primary-key order.
-- include: drafts.selection

-- fragment: selection
-- The selected drafts: those of some records, those of a session, or all.
SELECT d.record_id, d.version
FROM (SELECT DISTINCT p.record_id FROM unnest(CAST(:record_ids AS text[])) AS p (record_id)) AS p
CROSS JOIN LATERAL (
    SELECT d.record_id, d.version FROM draftline.draft AS d
    WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection AND d.record_id = p.record_id
      AND (CAST(:session_id AS text) IS NULL OR d.session_id = CAST(:session_id AS text))
    OFFSET 0
) AS d
UNION ALL
SELECT d.record_id, d.version
FROM draftline.draft AS d
WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
  AND CAST(:record_ids AS text[]) IS NULL
  AND (CAST(:session_id AS text) IS NULL OR d.session_id = CAST(:session_id AS text))
ORDER BY record_id
LIMIT :limit

-- name: refresh_drafts
-- Apply the drafts of all users over some records, which the transaction has locked, to the records' new contents.
-- steps_done: by record, the transforms that were written, which the bases of drafted transforms follow; NULL: none.
SELECT draftline.refresh_drafts(:tenant_id, array_agg(r.collection), array_agg(r.record_id), array_agg(r.content),
    steps_done => array_agg(p.steps_done)) AS refreshed
FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[]), CAST(:steps_done AS jsonb[]))
    AS p (collection, record_id, steps_done)
CROSS JOIN LATERAL (
    SELECT r.* FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
    OFFSET 0
) AS r

-- name: drop_drafts
-- Lock drafts in primary-key order, after their records, delete them, and return them. The records are locked FOR SHARE: a
-- write of one tallies the drafts over it, and no draft may go meanwhile.
WITH held AS MATERIALIZED (
    SELECT r.record_id, CASE WHEN r.deleted_at IS NULL THEN r.content END AS live
    FROM (
        SELECT p.record_id FROM unnest(CAST(:record_ids AS text[])) AS p (record_id) ORDER BY p.record_id COLLATE "C"
    ) AS p
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
        FOR SHARE
    ) AS r
), locked AS MATERIALIZED (
    SELECT d.*
    FROM (
        SELECT p.record_id FROM unnest(CAST(:record_ids AS text[])) AS p (record_id) ORDER BY p.record_id COLLATE "C"
    ) AS p
    CROSS JOIN LATERAL (
        SELECT d.* FROM draftline.draft AS d
        WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection
          AND d.record_id = p.record_id
          AND (CAST(:session_id AS text) IS NULL OR d.session_id = CAST(:session_id AS text))
        FOR UPDATE
    ) AS d
    WHERE (SELECT count(*) FROM held) >= 0  -- records are locked before drafts, as by every write
), deleted AS MATERIALIZED (
    SELECT draftline.delete_drafts(:tenant_id, :collection, array_agg(l.user_id), array_agg(l.record_id)) AS drafts
    FROM locked AS l
), dropped AS MATERIALIZED (
    SELECT l.* FROM locked AS l CROSS JOIN deleted
), changed_drafts AS (
    SELECT 'DISCARD' AS source, CAST(:user_id AS text) AS user_id, CAST(:collection AS text) AS collection,
        d.record_id, d.session_id
    FROM dropped AS d
),
-- include: write_tail.log_drafts
, moved_drafts AS (
    SELECT d.user_id, d.collection, d.record_id, d.kind AS old_kind, d.merged AS old_merged,
        CAST(NULL AS text) AS new_kind, CAST(NULL AS jsonb) AS new_merged, h.live
    FROM dropped AS d
    LEFT JOIN held AS h ON h.record_id = d.record_id
),
-- include: write_tail.move_draft_entries
SELECT d.record_id, CASE WHEN :with_content THEN d.merged::text END AS content, coalesce(r.version, 0) AS version,
    draftline.drafted_parent_id(d.attributes, o.parent_id) AS parent_id,
    draftline.drafted_position(d.attributes, o.position) AS position,
    CASE WHEN d.attributes IS NULL THEN '{}'
         ELSE draftline.modified_attributes(d.attributes, o.parent_id, o.position) END AS modified_attributes,
    timestamptz_send(coalesce(r.created_at, d.created_at)) AS created_at,
    coalesce(r.created_by, d.user_id) AS created_by, timestamptz_send(coalesce(r.updated_at, d.updated_at)) AS updated_at,
    coalesce(r.updated_by, d.user_id) AS updated_by, o.deleted_at,
    d.kind AS draft_kind, d.version AS draft_version, d.updated_at AS draft_updated_at, d.session_id, d.change_reason,
    draftline.modified_fields(d.kind, d.edit, r.content, d.merged) AS modified_fields, '[]' AS conflicts,
    d.kind <> 'CREATE' AND d.record_id NOT IN (SELECT record_id FROM held) AS is_unlocked
FROM dropped AS d
CROSS JOIN draft_entries
LEFT JOIN LATERAL (
    SELECT r.* FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = d.record_id
    OFFSET 0
) AS r ON true
-- A creation that brings a record back starts without attributes.
LEFT JOIN LATERAL (SELECT r.parent_id, r.position, r.deleted_at
                   WHERE d.kind <> 'CREATE' OR r.deleted_at IS NULL) AS o ON true
ORDER BY d.record_id

-- name: count_drafts
-- Return the number of drafts of all tenants; for the checker only.
SELECT count(*) AS count FROM draftline.draft

-- name: check_drafts
-- Return drafts of all tenants, and whether each one's merge differs from its edit applied to its record, a page at a
-- time; for the checker only.
SELECT d.tenant_id, d.user_id, d.collection, d.record_id,
    d.kind <> 'CREATE' AND r.record_id IS NULL AS is_orphan,
    d.merged IS DISTINCT FROM draftline.apply_edit(d.edit, r.content) AS differs
FROM draftline.draft AS d
LEFT JOIN draftline.record AS r
    ON r.tenant_id = d.tenant_id AND r.collection = d.collection AND r.record_id = d.record_id
WHERE (d.tenant_id, d.user_id, d.collection, d.record_id)
    > (CAST(:tenant_id AS text), CAST(:user_id AS text), CAST(:collection AS text), CAST(:record_id AS text))
ORDER BY d.tenant_id, d.user_id, d.collection, d.record_id
LIMIT :limit

-- name: repair_draft
-- Apply the edit of one draft to its record again. The record is locked, so that no write happens in between.
WITH locked AS MATERIALIZED (
    SELECT r.content FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = :record_id
    FOR SHARE
), broken AS MATERIALIZED (
    SELECT d.kind, d.merged, draftline.apply_edit(d.edit, (SELECT content FROM locked)) AS new_merged
    FROM draftline.draft AS d
    WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection AND d.record_id = :record_id
    FOR UPDATE
), updated AS (
    UPDATE draftline.draft AS d
    SET merged = b.new_merged
    FROM broken AS b
    WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection AND d.record_id = :record_id
    RETURNING d.record_id
), moved_drafts AS (
    SELECT CAST(:user_id AS text) AS user_id, CAST(:collection AS text) AS collection,
        CAST(:record_id AS text) AS record_id, b.kind AS old_kind, b.merged AS old_merged,
        b.kind AS new_kind, b.new_merged, CAST(NULL AS jsonb) AS live  -- the record stays as it is
    FROM broken AS b
),
-- include: write_tail.move_draft_entries
SELECT u.record_id FROM updated AS u CROSS JOIN draft_entries
