-- Where a draft and its record disagree, and what is left of a draft when they are settled.
-- A path is in conflict when its base, mine and theirs all differ; see 0002_drafts.sql for edits and bases.

-- One conflict: {"kind", "path", "base", "mine", "theirs"}; a value that is not there is left out.
CREATE FUNCTION draftline.conflict(kind text, path text[], base jsonb, mine jsonb, theirs jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('kind', kind, 'path', draftline.pointer(path))
        || CASE WHEN base IS NULL THEN '{}' ELSE jsonb_build_object('base', base) END
        || CASE WHEN mine IS NULL THEN '{}' ELSE jsonb_build_object('mine', mine) END
        || CASE WHEN theirs IS NULL THEN '{}' ELSE jsonb_build_object('theirs', theirs) END
$$;

-- Whether base, mine and theirs all differ; NULL is a value that is not there.
CREATE FUNCTION draftline.differ(base jsonb, mine jsonb, theirs jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT base IS DISTINCT FROM mine AND base IS DISTINCT FROM theirs AND mine IS DISTINCT FROM theirs
$$;

-- The keys that a node sets or removes.
CREATE FUNCTION draftline.leaf_keys(node jsonb) RETURNS SETOF text
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 4 AS $$
    SELECT jsonb_object_keys(coalesce(node -> 's', '{}'))
    UNION ALL SELECT jsonb_array_elements_text(coalesce(node -> 'r', '[]'))
$$;

-- The conflicts of a node with a content, below a path. The base has the shape of the node. Where
-- the content now holds something that is no object, and the node would merge into it, all of that
-- is the conflict.
CREATE FUNCTION draftline.node_conflicts(node jsonb, base jsonb, content jsonb, at text[]) RETURNS jsonb
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

-- What is left of a node when its conflicts are settled in the content's favour.
CREATE FUNCTION draftline.settle_node(node jsonb, base jsonb, content jsonb) RETURNS jsonb
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

-- The conflicts of a draft with the record as it is: `[]` when a commit meets none.
CREATE FUNCTION draftline.conflicts(
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

-- The content that is left when a change's conflicts are settled in the record's favour.
CREATE FUNCTION draftline.settle(edit jsonb, base jsonb, content jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN NOT edit ? 'v' THEN draftline.apply_node(draftline.settle_node(edit, base, content), content)
        WHEN draftline.differ(base -> 'v', edit -> 'v', content) THEN content
        ELSE edit -> 'v'
    END
$$;
