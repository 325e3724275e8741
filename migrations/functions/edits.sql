-- The edits of drafts: sets, removals, merges and transforms of values at paths, closed under composition.
--
-- An edit is {"v": value}, which replaces the whole content, or a node {"s": {key: value}, "r": [key], "m": {key: node},
-- "t": {key: steps}} without its empty members. A node sets the keys of s, removes those of r, applies the nodes of m
-- below their keys, and transforms the values at those of t. Applied to anything but an object, it starts from {}. A key is
-- in one member only. An edit can be applied to any content, and never fails. tests/store/test_draft_laws.py holds the
-- laws, such as apply(compose(a, b), x) = apply(b, apply(a, x)).

-- Return a node made of its members, without the empty ones.
CREATE OR REPLACE FUNCTION draftline.node(sets jsonb, removals text[], merges jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN sets <> '{}' THEN jsonb_build_object('s', sets) ELSE '{}' END
        || CASE WHEN removals <> '{}' THEN jsonb_build_object('r', removals) ELSE '{}' END
        || CASE WHEN merges <> '{}' THEN jsonb_build_object('m', merges) ELSE '{}' END
$$;

-- Apply a node to a value. Anything but an object counts as {}.
CREATE OR REPLACE FUNCTION draftline.apply_node(node jsonb, target jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    merged jsonb := target;
BEGIN
    IF jsonb_typeof(merged) IS DISTINCT FROM 'object' THEN
        IF NOT draftline.puts(node) THEN
            RETURN target;
        END IF;
        merged := '{}';
    END IF;
    IF node ? 'r' THEN
        merged := merged - ARRAY(SELECT jsonb_array_elements_text(node -> 'r'));
    END IF;
    IF node ? 'm' THEN
        merged := merged || coalesce((
            SELECT jsonb_object_agg(a.key, a.value)
            FROM (SELECT m.key, draftline.apply_node(m.value, merged -> m.key) AS value
                  FROM jsonb_each(node -> 'm') AS m OFFSET 0) AS a
            WHERE a.value IS NOT NULL), '{}');
    END IF;
    IF node ? 't' THEN
        merged := merged || coalesce((
            SELECT jsonb_object_agg(a.key, a.value)
            FROM (SELECT t.key, draftline.transform(t.value, merged -> t.key) AS value
                  FROM jsonb_each(node -> 't') AS t OFFSET 0) AS a
            WHERE a.value IS NOT NULL), '{}');
    END IF;
    RETURN CASE WHEN node ? 's' THEN merged || (node -> 's') ELSE merged END;
END $$;

-- Apply an edit to a content. The result is an object, and is what draft.merged holds.
CREATE OR REPLACE FUNCTION draftline.apply_edit(edit jsonb, content jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(edit -> 'v', draftline.apply_node(edit, coalesce(content, '{}')))
$$;

-- Return one edit that has the effect of a and then b.
CREATE OR REPLACE FUNCTION draftline.compose(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF b ? 'v' OR a = '{}' THEN
        RETURN b;
    ELSIF a ? 'v' THEN
        RETURN jsonb_build_object('v', draftline.apply_node(b, a -> 'v'));
    END IF;
    RETURN draftline.compose_nodes(a, b);
END $$;

-- Compose two nodes; see compose.
CREATE OR REPLACE FUNCTION draftline.compose_nodes(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    b_removals text[] := ARRAY(SELECT jsonb_array_elements_text(b -> 'r'));
    b_touched text[] := b_removals || ARRAY(SELECT jsonb_object_keys(coalesce(b -> 's', '{}')));
    composed jsonb := a;
    added jsonb;
    child record;
BEGIN
    -- Compose keys of b that a lacks, or at which a has a node as well, in one step; the others one by one.
    IF b ? 'm' THEN
        added := (SELECT jsonb_object_agg(m.key, CASE WHEN a -> 'm' ? m.key
                      THEN draftline.compose(a -> 'm' -> m.key, m.value) ELSE m.value END)
                  FROM jsonb_each(b -> 'm') AS m
                  WHERE (a -> 's' ? m.key OR a -> 'r' ? m.key OR a -> 't' ? m.key) IS NOT TRUE);
        IF added IS NOT NULL THEN
            composed := composed || jsonb_build_object('m', coalesce(a -> 'm', '{}') || added);
        END IF;
        FOR child IN SELECT key, value FROM jsonb_each(b -> 'm') AS m
            WHERE a -> 's' ? m.key OR a -> 'r' ? m.key OR a -> 't' ? m.key
        LOOP
            composed := draftline.compose_merge(composed, child.key, child.value);
        END LOOP;
    END IF;
    IF b ? 't' THEN
        FOR child IN SELECT key, value FROM jsonb_each(b -> 't') LOOP
            composed := draftline.compose_steps(composed, child.key, child.value);
        END LOOP;
    END IF;
    composed := draftline.node(
        (coalesce(composed -> 's', '{}') - b_touched) || coalesce(b -> 's', '{}'),
        CASE WHEN composed ? 'r' THEN ARRAY(
            SELECT k FROM jsonb_array_elements_text(composed -> 'r') AS k WHERE k <> ALL (b_touched)) ELSE '{}' END
            || b_removals,
        coalesce(composed -> 'm', '{}') - b_touched,
        coalesce(composed -> 't', '{}') - b_touched,
        false);
    -- Only a removal reverts an edit that made an object.
    IF NOT (b ?| '{r,o}' OR a ? 'o') OR draftline.puts(composed) OR NOT (draftline.puts(a) OR draftline.puts(b)) THEN
        RETURN composed;
    END IF;
    RETURN composed || '{"o": true}';
END $$;

-- Return the inverse of a node; see inverse. Where the content has nothing, it holds {"n": true}, so that an addition
-- there is in conflict only with an addition of others, not with a removed object.
CREATE OR REPLACE FUNCTION draftline.inverse_node(node jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    present jsonb := CASE WHEN jsonb_typeof(content) = 'object' THEN content ELSE '{}' END;
    touched text[] := CASE WHEN node ? 's' THEN ARRAY(SELECT jsonb_object_keys(node -> 's')) ELSE '{}' END;
    absent text[] := '{}';
    base jsonb;
BEGIN
    IF node ? 'r' THEN
        touched := touched || ARRAY(SELECT jsonb_array_elements_text(node -> 'r'));
    END IF;
    IF node ? 't' THEN
        touched := touched || ARRAY(SELECT jsonb_object_keys(node -> 't'));
    END IF;
    IF NOT present ?& touched THEN
        absent := ARRAY(SELECT k FROM unnest(touched) AS k WHERE NOT present ? k ORDER BY k);
    END IF;
    base := draftline.node(
        coalesce((SELECT jsonb_object_agg(k, present -> k) FROM unnest(touched) AS k WHERE present ? k), '{}'),
        absent,
        CASE WHEN node ? 'm' THEN (SELECT jsonb_object_agg(m.key, draftline.inverse_node(m.value, present -> m.key))
                                   FROM jsonb_each(node -> 'm') AS m) ELSE '{}' END);
    RETURN CASE WHEN content IS NULL THEN base || '{"n": true}' ELSE base END;
END $$;

-- Return the edit that restores, at the paths of an edit, the values of a content.
CREATE OR REPLACE FUNCTION draftline.inverse(edit jsonb, content jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN edit ? 'v' THEN jsonb_build_object('v', content) ELSE draftline.inverse_node(edit, content) END
$$;

-- Return the top-level keys whose merged values differ from the record's, in code point order. Only the keys that the
-- edit touches are compared.
CREATE OR REPLACE FUNCTION draftline.modified_fields(kind text, edit jsonb, content jsonb, merged jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF kind = 'DELETE' OR content IS NULL OR edit ? 'v' THEN
        RETURN draftline.changed_fields(coalesce(content, '{}'), CASE kind WHEN 'DELETE' THEN '{}' ELSE merged END);
    END IF;
    RETURN ARRAY(
        SELECT k FROM (
            SELECT jsonb_object_keys(coalesce(edit -> 's', '{}') || coalesce(edit -> 'm', '{}')
                || coalesce(edit -> 't', '{}'))
            UNION ALL SELECT jsonb_array_elements_text(edit -> 'r')
        ) AS touched (k)
        WHERE content -> k IS DISTINCT FROM merged -> k ORDER BY k COLLATE "C");
END $$;

-- Return the edit that sets the value at a path, or removes it if the value is NULL.
CREATE OR REPLACE FUNCTION draftline.edit_at(path text[], value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN cardinality(path) = 0 THEN jsonb_build_object('v', value)
        WHEN cardinality(path) > 1
            THEN jsonb_build_object('m', jsonb_build_object(path[1], draftline.edit_at(path[2:], value)))
        WHEN value IS NULL THEN jsonb_build_object('r', path)
        ELSE jsonb_build_object('s', jsonb_build_object(path[1], value))
    END
$$;

-- Return a node made of its members, without the empty ones.
CREATE OR REPLACE FUNCTION draftline.node(sets jsonb, removals text[], merges jsonb, transforms jsonb, is_object boolean)
RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT draftline.node(sets, removals, merges)
        || CASE WHEN transforms <> '{}' THEN jsonb_build_object('t', transforms) ELSE '{}' END
        || CASE WHEN is_object THEN jsonb_build_object('o', true) ELSE '{}' END
$$;

-- Add items to the last of union and append steps.
CREATE OR REPLACE FUNCTION draftline.with_items(added jsonb[], name text, items jsonb) RETURNS jsonb[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    last int := cardinality(added);
    step jsonb;
BEGIN
    IF name = 'union' THEN
        items := draftline.array_union('[]', items);
        FOREACH step IN ARRAY added LOOP
            items := draftline.array_subtract(items, coalesce(step -> 'union', step -> 'append'));
        END LOOP;
    ELSIF items = '[]' THEN
        name := 'union';
    END IF;
    IF last = 0 OR added[last] = '{"union": []}' THEN
        RETURN added[:last - 1] || jsonb_build_object(name, items);
    ELSIF items = '[]' THEN
        RETURN added;
    ELSIF added[last] ? name THEN
        RETURN added[:last - 1] || jsonb_build_object(name, (added[last] -> name) || items);
    END IF;
    RETURN added || jsonb_build_object(name, items);
END $$;

-- Remove items from union and append steps. Steps that have no items left stay, because they create a missing list.
CREATE OR REPLACE FUNCTION draftline.without_items(added jsonb[], items jsonb) RETURNS jsonb[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    step jsonb;
    name text;
    kept jsonb[] := '{}';
BEGIN
    FOREACH step IN ARRAY added LOOP
        name := (SELECT jsonb_object_keys(step));
        kept := draftline.with_items(kept, name, draftline.array_subtract(step -> name, items));
    END LOOP;
    RETURN kept;
END $$;

-- Return one action that has the effect of the steps a and then the steps b: {"t": steps}, or {"s": value} if the
-- result of a does not depend on the value before it.
CREATE OR REPLACE FUNCTION draftline.chain(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN (a -> 0) ? 'increment' AND (b -> 0) ? 'increment' THEN jsonb_build_object('t', jsonb_build_array(
            jsonb_build_object('increment', draftline.transform(b, a -> 0 -> 'increment'))))
        WHEN (a -> 0) ? 'increment' OR (b -> 0) ? 'increment'
            THEN jsonb_build_object('s', draftline.transform(b, draftline.transform(a, NULL)))
        ELSE jsonb_build_object('t', draftline.normal_steps(a || b))
    END
$$;

-- Return a node with another action at a key: a value in one of its members, or a removal if the value is NULL.
CREATE OR REPLACE FUNCTION draftline.with_key(node jsonb, key text, member text, value jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    found jsonb := node;
    name text;
BEGIN
    FOREACH name IN ARRAY '{s,r,m,t}'::text[] LOOP
        IF found -> name ? key THEN
            found := CASE WHEN (found -> name) - key IN ('{}', '[]') THEN found - name
                ELSE jsonb_set(found, ARRAY[name], (found -> name) - key) END;
        END IF;
    END LOOP;
    IF value IS NULL THEN
        RETURN found || jsonb_build_object('r', coalesce(found -> 'r', '[]') || to_jsonb(key));
    END IF;
    RETURN found || jsonb_build_object(member, coalesce(found -> member, '{}') || jsonb_build_object(key, value));
END $$;

-- Compose a node with a node below one of its keys that it sets, removes or transforms.
CREATE OR REPLACE FUNCTION draftline.compose_merge(a jsonb, key text, child jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN a -> 's' ? key THEN draftline.with_key(a, key, 's', draftline.apply_node(child, a -> 's' -> key))
        WHEN a -> 'r' ? key THEN draftline.with_key(a, key, 's', draftline.apply_node(child, NULL))
        -- The result of steps is not an object.
        WHEN a -> 't' ? key AND draftline.puts(child)
            THEN draftline.with_key(a, key, 's', draftline.apply_node(child, NULL))
        ELSE a
    END
$$;

-- Compose a node with steps at one of its keys.
CREATE OR REPLACE FUNCTION draftline.compose_steps(a jsonb, key text, steps jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    action jsonb;
BEGIN
    IF a -> 's' ? key THEN
        RETURN draftline.with_key(a, key, 's', draftline.transform(steps, a -> 's' -> key));
    ELSIF a -> 'r' ? key THEN
        RETURN draftline.with_key(a, key, 's', draftline.transform(steps, NULL));
    ELSIF a -> 'm' ? key AND draftline.puts(a -> 'm' -> key) THEN
        RETURN draftline.with_key(a, key, 's', draftline.transform(steps, '{}'));
    ELSIF a -> 't' ? key THEN
        action := draftline.chain(a -> 't' -> key, steps);
        RETURN draftline.with_key(a, key, CASE WHEN action ? 's' THEN 's' ELSE 't' END,
            coalesce(action -> 's', action -> 't'));
    END IF;
    RETURN draftline.with_key(a, key, 't', steps);
END $$;

-- Return the edit that copies the value at a path from one content to another. If the path leads into an array, the
-- whole array is set, because the indexes have no meaning in another content.
CREATE OR REPLACE FUNCTION draftline.edit_to(before jsonb, after jsonb, path text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    depth int := 0;
BEGIN
    WHILE depth < cardinality(path) AND jsonb_typeof(before #> path[1:depth]) = 'object'
            AND jsonb_typeof(after #> path[1:depth]) = 'object' LOOP
        depth := depth + 1;
    END LOOP;
    RETURN draftline.edit_at(path[1:depth], after #> path[1:depth]);
END $$;
