-- Refreshing drafts after a write of their records.

-- Apply the drafts of all users over some records to the new contents, and move their entries. It is VOLATILE so that its
-- query takes a snapshot of its own, after the caller has locked the records, and sees drafts that were saved while the
-- caller waited for the locks. `olds` and `operations`, or else `steps_done`, say which transforms made the new content,
-- for drafts that transform the same values; NULL: none did.
CREATE OR REPLACE FUNCTION draftline.refresh_drafts(tenant text, collections text[], record_ids text[], contents jsonb[],
    olds jsonb[] DEFAULT NULL, operations jsonb[] DEFAULT NULL, steps_done jsonb[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    refreshed record;
BEGIN
    WITH stale AS MATERIALIZED (
        SELECT d.*, p.content, p.old, p.operations, p.steps
        FROM (
            SELECT p.*
            FROM unnest(collections, record_ids, contents, olds, operations, steps_done)
                AS p (collection, record_id, content, old, operations, steps)
            ORDER BY p.collection COLLATE "C", p.record_id COLLATE "C"
        ) AS p
        CROSS JOIN LATERAL (
            SELECT d.* FROM draftline.draft AS d
            WHERE d.tenant_id = tenant AND d.collection = p.collection AND d.record_id = p.record_id
              AND d.kind <> 'CREATE'
            ORDER BY d.user_id
            FOR UPDATE
        ) AS d
    ), done AS MATERIALIZED (
        -- Once for each record, and only if a draft needs it.
        SELECT o.collection, o.record_id, draftline.steps_done_by(o.operations, o.old, o.content) AS steps
        FROM (
            SELECT DISTINCT ON (s.collection, s.record_id) s.collection, s.record_id, s.operations, s.old, s.content
            FROM stale AS s
            WHERE s.operations IS NOT NULL AND draftline.has_transforms(s.edit)
        ) AS o
    ), followed AS MATERIALIZED (
        SELECT s.*, draftline.apply_edit(s.edit, s.content) AS new_merged,
            draftline.follow(s.base, s.edit, coalesce(s.steps, o.steps)) AS new_base
        FROM stale AS s
        LEFT JOIN done AS o ON o.collection = s.collection AND o.record_id = s.record_id
    ), updated AS (
        -- Each draft is locked, so each row conflicts with it; unlike a join, this finds it by its key under any plan.
        INSERT INTO draftline.draft (tenant_id, user_id, collection, record_id, kind, edit, base, base_version, merged,
            attributes, version, session_id, change_reason, created_at, updated_at, definition_version)
        SELECT tenant, f.user_id, f.collection, f.record_id, f.kind, f.edit, f.new_base, f.base_version, f.new_merged,
            f.attributes, f.version, f.session_id, f.change_reason, f.created_at, f.updated_at, f.definition_version
        FROM followed AS f
        ON CONFLICT (tenant_id, user_id, collection, record_id) DO UPDATE
        SET merged = EXCLUDED.merged, base = EXCLUDED.base
    )
    SELECT count(*) AS count, array_agg(f.user_id) AS user_ids, array_agg(f.collection) AS collections,
        array_agg(f.record_id) AS record_ids, array_agg(f.kind) AS kinds, array_agg(f.merged) AS olds,
        array_agg(f.new_merged) AS news
    INTO refreshed
    FROM followed AS f;
    IF refreshed.count > 0 THEN
        PERFORM draftline.move_draft_order_entries(tenant, refreshed.user_ids, refreshed.collections,
            refreshed.record_ids, refreshed.olds, refreshed.news);
        IF EXISTS (SELECT FROM draftline.statistic AS q WHERE q.tenant_id = tenant
                AND q.collection = ANY (refreshed.collections) AND q.state IN ('BUILDING', 'READY')) THEN
            -- The write of the records tallies what they contribute.
            PERFORM draftline.tally_drafts(tenant, refreshed.user_ids, refreshed.collections, refreshed.kinds,
                refreshed.olds, refreshed.kinds, refreshed.news, array_fill(NULL::jsonb, ARRAY[refreshed.count::int]));
        END IF;
    END IF;
    RETURN refreshed.count;
END $$;
