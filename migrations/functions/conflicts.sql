-- Conflicts between base, mine and theirs, and their resolution.

-- Return one conflict, {"kind", "path", "base", "mine", "theirs"}, without the values that are missing.
CREATE OR REPLACE FUNCTION draftline.conflict(kind text, path text[], base jsonb, mine jsonb, theirs jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('kind', kind, 'path', draftline.pointer(path))
        || CASE WHEN base IS NULL THEN '{}' ELSE jsonb_build_object('base', base) END
        || CASE WHEN mine IS NULL THEN '{}' ELSE jsonb_build_object('mine', mine) END
        || CASE WHEN theirs IS NULL THEN '{}' ELSE jsonb_build_object('theirs', theirs) END
$$;

-- Return whether a set value is in conflict: the record's value is neither the base nor the draft's. A draft may set a
-- value back to its base; then any change by others is in conflict.
CREATE OR REPLACE FUNCTION draftline.differ(base jsonb, mine jsonb, theirs jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT base IS DISTINCT FROM theirs AND mine IS DISTINCT FROM theirs
$$;

-- Return the keys that a node sets or removes.
CREATE OR REPLACE FUNCTION draftline.leaf_keys(node jsonb) RETURNS SETOF text
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 4 AS $$
    SELECT jsonb_object_keys(coalesce(node -> 's', '{}'))
    UNION ALL SELECT jsonb_array_elements_text(coalesce(node -> 'r', '[]'))
$$;

-- Return the conflicts of a node with a content, below a path. The base has the shape of the node, with values where
-- the node has steps.
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

-- Return a node without the parts that are in conflict with the content.
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

-- Return the conflicts of a draft with its record; [] if a commit meets none. A creation is not in conflict with a
-- record that was created and deleted meanwhile.
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

-- Return the content after a change whose conflicts are decided for the record.
CREATE OR REPLACE FUNCTION draftline.settle(edit jsonb, base jsonb, content jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN NOT edit ? 'v' THEN draftline.apply_node(draftline.settle_node(edit, base, content), content)
        WHEN draftline.differ(base -> 'v', edit -> 'v', content) THEN content
        ELSE edit -> 'v'
    END
$$;

-- Return whether steps are in conflict. Their base follows the transforms of others (see follow), so a value that
-- differs from it was set or removed. A subtraction from a list that no longer exists is not in conflict.
CREATE OR REPLACE FUNCTION draftline.steps_differ(steps jsonb, base jsonb, theirs jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT base IS DISTINCT FROM theirs AND draftline.transform(steps, theirs) IS DISTINCT FROM theirs
$$;

-- Return whether a node below a key is in conflict as a whole: it sets something in an object that no longer exists or
-- was replaced by another value. Its removals are then not in conflict.
CREATE OR REPLACE FUNCTION draftline.parent_differs(child jsonb, base jsonb, theirs jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN jsonb_typeof(theirs) IS DISTINCT FROM 'object' AND draftline.puts(child)
        AND NOT (theirs IS NULL AND coalesce(base ? 'n', false));
END $$;

-- Return whether an edit of a draft sets, removes, transforms or merges into exactly this path.
CREATE OR REPLACE FUNCTION draftline.has_path(edit jsonb, path text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN edit IS NULL OR edit ? 'v' OR cardinality(path) = 0 THEN false
        WHEN cardinality(path) = 1 THEN EXISTS (SELECT 1 FROM jsonb_each(edit) AS member WHERE member.value ? path[1])
        ELSE draftline.has_path(edit -> 'm' -> path[1], path[2:])
    END
$$;

-- Return whether an edit of the log changed the value at a path, below it or above it.
CREATE OR REPLACE FUNCTION draftline.touches(edit jsonb, path text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN edit IS NULL THEN false
        WHEN edit ? 'v' OR cardinality(path) = 0 THEN edit <> '{}'
        ELSE coalesce(edit -> 's' ? path[1], false) OR coalesce(edit -> 'r' ? path[1], false)
            OR draftline.touches(edit -> 'm' -> path[1], path[2:])
    END
$$;

-- Return a merge with some conflicts decided against the draft: [{"path": [tokens]}] restores the value of `content` at
-- the path, [{"path": [tokens], "value": v}] sets the value v.
CREATE OR REPLACE FUNCTION draftline.decided(merged jsonb, content jsonb, decisions jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    result jsonb := merged;
    decision jsonb;
    path text[];
BEGIN
    FOR decision IN SELECT jsonb_array_elements(decisions) LOOP
        path := ARRAY(SELECT jsonb_array_elements_text(decision -> 'path'));
        result := draftline.put_value(result, path,
            CASE WHEN decision ? 'value' THEN decision -> 'value' ELSE content #> path END);
    END LOOP;
    RETURN result;
END $$;

-- Return a content with the value at a path; NULL removes the value there. Missing parent objects are created for a
-- value, not for a removal.
CREATE OR REPLACE FUNCTION draftline.put_value(content jsonb, path text[], value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN cardinality(path) = 0 THEN value
        WHEN jsonb_typeof(content) IS DISTINCT FROM 'object' AND value IS NULL THEN content
        WHEN cardinality(path) = 1 AND value IS NULL THEN content - path[1]
        WHEN cardinality(path) > 1 AND value IS NULL AND NOT content ? path[1] THEN content
        ELSE CASE WHEN jsonb_typeof(content) = 'object' THEN content ELSE '{}' END
            || jsonb_build_object(path[1], draftline.put_value(content -> path[1], path[2:], value))
    END
$$;

-- Return the attributes of a record with a draft applied: the decided ones, else the draft's ([base, mine]), else the
-- record's. `decisions`: {"parent_id": {}} keeps the record's value, {"parent_id": {"value": v}} sets v.
CREATE OR REPLACE FUNCTION draftline.decided_attributes(attributes jsonb, theirs jsonb, decisions jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_object_agg(t.key, CASE
        WHEN decisions ? t.key THEN coalesce(decisions -> t.key -> 'value', t.value)
        ELSE coalesce(attributes -> t.key -> 1, t.value) END)
    FROM jsonb_each(theirs) AS t
$$;
