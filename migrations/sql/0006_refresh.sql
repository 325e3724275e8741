-- Brings the drafts of all users over some records up to date with their new contents. `olds` and `operations` tell
-- what was done by operations, NULL elsewhere: the bases of drafted transforms follow the transforms of others.
-- VOLATILE on purpose: its query takes a snapshot of its own, after the caller has locked the records, and so sees a
-- draft that was saved while the caller waited for that lock. The caller's own snapshot does not.
DROP FUNCTION draftline.refresh_drafts(text, text[], text[], jsonb[]);

CREATE FUNCTION draftline.refresh_drafts(tenant text, collections text[], record_ids text[], contents jsonb[],
    olds jsonb[] DEFAULT NULL, operations jsonb[] DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    refreshed bigint;
BEGIN
    WITH stale AS MATERIALIZED (
        SELECT d.user_id, d.collection, d.record_id, d.edit, d.base, p.content, p.old, p.operations
        FROM draftline.draft AS d
        JOIN unnest(collections, record_ids, contents, olds, operations)
            AS p (collection, record_id, content, old, operations)
            ON d.collection = p.collection AND d.record_id = p.record_id
        WHERE d.tenant_id = tenant AND d.kind <> 'CREATE'
        ORDER BY d.collection, d.record_id, d.user_id
        FOR UPDATE OF d
    ), done AS MATERIALIZED (
        -- Once a record, and only where there is a draft that it matters to.
        SELECT o.collection, o.record_id, draftline.steps_done_by(o.operations, o.old, o.content) AS steps
        FROM (
            SELECT DISTINCT ON (s.collection, s.record_id) s.collection, s.record_id, s.operations, s.old, s.content
            FROM stale AS s
            WHERE s.operations IS NOT NULL AND draftline.has_transforms(s.edit)
        ) AS o
    )
    UPDATE draftline.draft AS d
    SET merged = draftline.apply_edit(s.edit, s.content), base = draftline.follow(s.base, s.edit, o.steps)
    FROM stale AS s
    LEFT JOIN done AS o ON o.collection = s.collection AND o.record_id = s.record_id
    WHERE d.tenant_id = tenant AND d.user_id = s.user_id AND d.collection = s.collection
      AND d.record_id = s.record_id;
    GET DIAGNOSTICS refreshed = ROW_COUNT;
    RETURN refreshed;
END $$;

DROP FUNCTION draftline.prune(jsonb, jsonb), draftline.prune_node(jsonb, jsonb), draftline.rebase(jsonb, jsonb);

-- The drafts that there are. Where a draft adds to an object that its record did not have when the draft was saved,
-- the base says so; that is known while the record is still at that version.
CREATE FUNCTION draftline.mark_absent(base jsonb, edit jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    marked jsonb := base;
    name text;
BEGIN
    FOR name IN SELECT jsonb_object_keys(edit -> 'm') LOOP
        marked := jsonb_set(marked, ARRAY['m', name], draftline.mark_absent(
            coalesce(base -> 'm' -> name, '{}'), edit -> 'm' -> name, content -> name));
    END LOOP;
    RETURN CASE WHEN content IS NULL THEN marked || '{"n": true}' ELSE marked END;
END $$;

UPDATE draftline.draft AS d
SET base = CASE WHEN d.base_version = r.version THEN draftline.mark_absent(d.base, d.edit, r.content) ELSE d.base END,
    merged = draftline.apply_edit(d.edit, r.content)
FROM draftline.record AS r
WHERE r.tenant_id = d.tenant_id AND r.collection = d.collection AND r.record_id = d.record_id
  AND d.kind = 'CHANGE' AND d.edit ? 'm';

DROP FUNCTION draftline.mark_absent;
