-- The functions that 0006 replaced, as they were.

CREATE OR REPLACE FUNCTION draftline.differ(base jsonb, mine jsonb, theirs jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT base IS DISTINCT FROM mine AND base IS DISTINCT FROM theirs AND mine IS DISTINCT FROM theirs
$$;

CREATE OR REPLACE FUNCTION draftline.node_conflicts(node jsonb, base jsonb, content jsonb, at text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    found jsonb;
    child record;
BEGIN
    found := coalesce((
        SELECT jsonb_agg(draftline.conflict('VALUE', at || k, base -> 's' -> k, node -> 's' -> k, content -> k)
                         ORDER BY k COLLATE "C")
        FROM draftline.leaf_keys(node) AS k
        WHERE draftline.differ(base -> 's' -> k, node -> 's' -> k, content -> k)), '[]');
    FOR child IN SELECT key, value FROM jsonb_each(coalesce(node -> 'm', '{}')) ORDER BY key COLLATE "C" LOOP
        IF jsonb_typeof(content -> child.key) <> 'object' THEN
            found := found || draftline.conflict('VALUE', at || child.key,
                draftline.apply_node(base -> 'm' -> child.key, NULL), draftline.apply_node(child.value, NULL),
                content -> child.key);
        ELSE
            found := found || draftline.node_conflicts(
                child.value, base -> 'm' -> child.key, content -> child.key, at || child.key);
        END IF;
    END LOOP;
    RETURN found;
END $$;

CREATE OR REPLACE FUNCTION draftline.settle_node(node jsonb, base jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    lost text[] := ARRAY(SELECT k FROM draftline.leaf_keys(node) AS k
        WHERE draftline.differ(base -> 's' -> k, node -> 's' -> k, content -> k));
BEGIN
    RETURN draftline.node(
        coalesce(node -> 's', '{}') - lost,
        ARRAY(SELECT k FROM jsonb_array_elements_text(coalesce(node -> 'r', '[]')) AS k WHERE k <> ALL (lost)),
        coalesce((
            SELECT jsonb_object_agg(m.key, s.child)
            FROM jsonb_each(node -> 'm') AS m,
                LATERAL (SELECT draftline.settle_node(m.value, base -> 'm' -> m.key, content -> m.key) AS child) AS s
            -- Where the content has nothing, only a value that is put there makes an object.
            WHERE jsonb_typeof(content -> m.key) = 'object'
               OR (content -> m.key IS NULL AND s.child ?| '{s,m}')), '{}'));
END $$;

CREATE OR REPLACE FUNCTION draftline.conflicts(
    kind text, edit jsonb, base jsonb, content jsonb, is_deleted boolean) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN kind = 'CREATE' AND (content IS NULL OR (edit -> 'v' = content AND NOT is_deleted)) THEN '[]'
        WHEN kind = 'CREATE' THEN jsonb_build_array(draftline.conflict('CREATED', '{}', NULL, edit -> 'v', content))
        WHEN kind = 'DELETE' AND (is_deleted OR base -> 'v' = content) THEN '[]'
        WHEN kind = 'DELETE' THEN jsonb_build_array(draftline.conflict('CHANGED', '{}', base -> 'v', NULL, content))
        WHEN is_deleted THEN jsonb_build_array(
            draftline.conflict('DELETED', '{}', content, draftline.apply_edit(edit, content), NULL))
        WHEN edit ? 'v' AND draftline.differ(base -> 'v', edit -> 'v', content)
            THEN jsonb_build_array(draftline.conflict('VALUE', '{}', base -> 'v', edit -> 'v', content))
        WHEN edit ? 'v' THEN '[]'
        ELSE draftline.node_conflicts(edit, base, content, '{}')
    END
$$;

CREATE OR REPLACE FUNCTION draftline.rebase_sets(sets jsonb, basis jsonb, content jsonb)
RETURNS TABLE (edit jsonb, base jsonb, fields text[])
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1 AS $$
    SELECT CASE WHEN r.sets IS NULL THEN '{}' ELSE jsonb_build_object('s', r.sets) END,
        CASE WHEN r.absent IS NULL AND r.olds IS NOT NULL THEN jsonb_build_object('s', r.olds)
             ELSE draftline.node(coalesce(r.olds, '{}'), coalesce(r.absent, '{}'), '{}') END,
        coalesce(r.fields, '{}')
    FROM (
        SELECT jsonb_object_agg(e.key, e.value) AS sets,
            jsonb_object_agg(e.key, basis -> e.key) FILTER (WHERE basis ? e.key) AS olds,
            array_agg(e.key) FILTER (WHERE NOT basis ? e.key) AS absent,
            array_agg(e.key) FILTER (WHERE content -> e.key IS DISTINCT FROM e.value) AS fields
        FROM jsonb_each(sets) AS e
        WHERE basis -> e.key IS DISTINCT FROM e.value
    ) AS r
$$;

-- Here a node makes an object of whatever it is applied to.
UPDATE draftline.draft AS d
SET merged = draftline.apply_edit(d.edit, r.content)
FROM draftline.record AS r
WHERE r.tenant_id = d.tenant_id AND r.collection = d.collection AND r.record_id = d.record_id
  AND d.kind = 'CHANGE' AND d.edit ? 'm';
