-- Conflicts of edits with transforms, and the transforms of others.

-- Whether what an edit sets is in conflict: with another value than the base, unless it is the edit's own. The edit
-- itself may be the base again: whoever says so after others changed it means it.
CREATE OR REPLACE FUNCTION draftline.differ(base jsonb, mine jsonb, theirs jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT base IS DISTINCT FROM theirs AND mine IS DISTINCT FROM theirs
$$;

-- Whether steps are in conflict. Their base follows the transforms of others (see follow), so what differs from it was
-- set or removed. What is subtracted from a list that is gone is done already.
CREATE FUNCTION draftline.steps_differ(steps jsonb, base jsonb, theirs jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT base IS DISTINCT FROM theirs AND draftline.transform(steps, theirs) IS DISTINCT FROM theirs
$$;

-- Whether a node below a key is in conflict as a whole: it puts something into an object that is not there any more,
-- or that is something else by now. What it removes from there is done already.
CREATE FUNCTION draftline.parent_differs(child jsonb, base jsonb, theirs jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN jsonb_typeof(theirs) IS DISTINCT FROM 'object' AND draftline.puts(child)
        AND NOT (theirs IS NULL AND coalesce(base ? 'n', false));
END $$;

-- Of a base, the values at the paths of its edit: what is known of an object that is gone.
CREATE FUNCTION draftline.base_value(base jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT draftline.restore_node(coalesce(base, '{}'), NULL)
$$;

-- The conflicts of a node with a content, below a path. The base has the shape of the node, but that it has values
-- where that has steps.
CREATE OR REPLACE FUNCTION draftline.node_conflicts(node jsonb, base jsonb, content jsonb, at text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    found jsonb;
    child record;
BEGIN
    found := coalesce((
        SELECT jsonb_agg(l.conflict ORDER BY l.key COLLATE "C")
        FROM (
            SELECT k, draftline.conflict('VALUE', at || k, base -> 's' -> k, node -> 's' -> k, content -> k)
            FROM draftline.leaf_keys(node) AS k
            WHERE draftline.differ(base -> 's' -> k, node -> 's' -> k, content -> k)
            UNION ALL
            SELECT t.key, draftline.conflict('VALUE', at || t.key, base -> 's' -> t.key,
                draftline.transform(t.value, content -> t.key), content -> t.key)
            FROM jsonb_each(node -> 't') AS t
            WHERE draftline.steps_differ(t.value, base -> 's' -> t.key, content -> t.key)
        ) AS l (key, conflict)), '[]');
    IF NOT node ? 'm' THEN
        RETURN found;
    END IF;
    FOR child IN SELECT key, value FROM jsonb_each(node -> 'm') ORDER BY key COLLATE "C" LOOP
        IF draftline.parent_differs(child.value, base -> 'm' -> child.key, content -> child.key) THEN
            found := found || draftline.conflict('VALUE', at || child.key,
                draftline.base_value(base -> 'm' -> child.key), draftline.apply_node(child.value, NULL),
                content -> child.key);
        ELSIF jsonb_typeof(content -> child.key) = 'object' OR draftline.puts(child.value) THEN
            found := found || draftline.node_conflicts(
                child.value, base -> 'm' -> child.key, content -> child.key, at || child.key);
        END IF;
    END LOOP;
    RETURN found;
END $$;

CREATE OR REPLACE FUNCTION draftline.settle_node(node jsonb, base jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    lost text[] := ARRAY(
        SELECT k FROM draftline.leaf_keys(node) AS k
        WHERE draftline.differ(base -> 's' -> k, node -> 's' -> k, content -> k)
        UNION ALL
        SELECT t.key FROM jsonb_each(node -> 't') AS t
        WHERE draftline.steps_differ(t.value, base -> 's' -> t.key, content -> t.key));
BEGIN
    RETURN draftline.node(
        coalesce(node -> 's', '{}') - lost,
        ARRAY(SELECT k FROM jsonb_array_elements_text(coalesce(node -> 'r', '[]')) AS k WHERE k <> ALL (lost)),
        coalesce((
            SELECT jsonb_object_agg(m.key,
                draftline.settle_node(m.value, base -> 'm' -> m.key, content -> m.key))
            FROM jsonb_each(node -> 'm') AS m
            WHERE NOT draftline.parent_differs(m.value, base -> 'm' -> m.key, content -> m.key)), '{}'),
        coalesce(node -> 't', '{}') - lost,
        false);
END $$;

-- The conflicts of a draft with the record as it is: `[]` when a commit meets none. A creation over a record that
-- came and went since meets nothing.
CREATE OR REPLACE FUNCTION draftline.conflicts(
    kind text, edit jsonb, base jsonb, content jsonb, is_deleted boolean) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN kind = 'CREATE' AND (content IS NULL OR is_deleted OR edit -> 'v' = content) THEN '[]'
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

-- Of an edit that made one content of another, the steps that did, as a node of t and m alone; NULL if there are none.
CREATE FUNCTION draftline.steps_done(edit jsonb, old jsonb, new jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    steps jsonb;
    merges jsonb;
BEGIN
    IF NOT draftline.has_transforms(edit) THEN
        RETURN NULL;
    END IF;
    steps := (SELECT jsonb_object_agg(t.key, t.value) FROM jsonb_each(edit -> 't') AS t
              WHERE draftline.transform(t.value, old -> t.key) IS NOT DISTINCT FROM new -> t.key);
    merges := (SELECT jsonb_object_agg(m.key, m.done)
               FROM (SELECT m.key, draftline.steps_done(m.value, old -> m.key, new -> m.key) AS done
                     FROM jsonb_each(edit -> 'm') AS m OFFSET 0) AS m
               WHERE m.done IS NOT NULL);
    RETURN nullif(draftline.node('{}', '{}', coalesce(merges, '{}'), coalesce(steps, '{}'), false), '{}');
END $$;

-- The same of operations; limits were looked at when they were applied.
CREATE FUNCTION draftline.steps_done_by(operations jsonb, old jsonb, new jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM jsonb_array_elements(operations) AS o WHERE draftline.is_transform(o))
        THEN draftline.steps_done((draftline.edit_of_operations(old, operations, 268435456, 10000)).content, old, new)
    END
$$;

-- Whether steps of two edits of one value go together: both may be applied, and neither takes away what the other adds.
CREATE FUNCTION draftline.commute(one jsonb, other jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (one -> 0) ? 'increment' = (other -> 0) ? 'increment' AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(one) AS a, jsonb_array_elements(other) AS b,
            LATERAL (VALUES (a -> 'subtract', coalesce(b -> 'union', b -> 'append')),
                (b -> 'subtract', coalesce(a -> 'union', a -> 'append'))) AS p (subtracted, added),
            LATERAL jsonb_array_elements(p.subtracted) AS s, LATERAL jsonb_array_elements(p.added) AS i
        WHERE s = i)
$$;

-- A base after others have applied steps to what it tells of. It follows those that go together with the edit's own;
-- whatever else was done to a value makes it differ from its base, which is a conflict.
CREATE FUNCTION draftline.follow(base jsonb, edit jsonb, done jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    followed jsonb := base;
    child record;
    value jsonb;
BEGIN
    IF done IS NULL THEN
        RETURN base;
    END IF;
    FOR child IN SELECT key, t.value AS steps FROM jsonb_each(done -> 't') AS t WHERE edit -> 't' ? key LOOP
        value := draftline.transform(child.steps, base -> 's' -> child.key);
        IF value IS NOT NULL AND draftline.commute(edit -> 't' -> child.key, child.steps) THEN
            followed := draftline.with_key(followed, child.key, 's', value) - 'n';
        END IF;
    END LOOP;
    FOR child IN SELECT key, m.value AS done FROM jsonb_each(done -> 'm') AS m WHERE edit -> 'm' ? key LOOP
        followed := jsonb_set(followed, ARRAY['m', child.key],
            draftline.follow(followed -> 'm' -> child.key, edit -> 'm' -> child.key, child.done));
    END LOOP;
    RETURN followed;
END $$;
