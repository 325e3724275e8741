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
        SELECT d.user_id, d.collection, d.record_id, d.kind, d.edit, d.base, d.merged, p.content, p.old, p.operations,
            p.steps
        FROM draftline.draft AS d
        JOIN unnest(collections, record_ids, contents, olds, operations, steps_done)
            AS p (collection, record_id, content, old, operations, steps)
            ON d.collection = p.collection AND d.record_id = p.record_id
        WHERE d.tenant_id = tenant AND d.kind <> 'CREATE'
        ORDER BY d.collection, d.record_id, d.user_id
        FOR UPDATE OF d
    ), done AS MATERIALIZED (
        -- Once for each record, and only if a draft needs it.
        SELECT o.collection, o.record_id, draftline.steps_done_by(o.operations, o.old, o.content) AS steps
        FROM (
            SELECT DISTINCT ON (s.collection, s.record_id) s.collection, s.record_id, s.operations, s.old, s.content
            FROM stale AS s
            WHERE s.operations IS NOT NULL AND draftline.has_transforms(s.edit)
        ) AS o
    ), updated AS (
        UPDATE draftline.draft AS d
        SET merged = draftline.apply_edit(s.edit, s.content),
            base = draftline.follow(s.base, s.edit, coalesce(s.steps, o.steps))
        FROM stale AS s
        LEFT JOIN done AS o ON o.collection = s.collection AND o.record_id = s.record_id
        WHERE d.tenant_id = tenant AND d.user_id = s.user_id AND d.collection = s.collection
          AND d.record_id = s.record_id
        RETURNING d.user_id, d.collection, d.record_id, d.kind, s.merged AS old_merged, d.merged AS new_merged
    )
    SELECT count(*) AS count, array_agg(u.user_id) AS user_ids, array_agg(u.collection) AS collections,
        array_agg(u.record_id) AS record_ids, array_agg(u.kind) AS kinds, array_agg(u.old_merged) AS olds, array_agg(u.new_merged) AS news
    INTO refreshed
    FROM updated AS u;
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
