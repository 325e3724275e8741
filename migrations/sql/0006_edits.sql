-- Edits with transforms, as 0006_transforms.sql defines them: applied, composed and taken back.

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

-- A content is always an object.
CREATE OR REPLACE FUNCTION draftline.apply_edit(edit jsonb, content jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(edit -> 'v', draftline.apply_node(edit, coalesce(content, '{}')))
$$;

CREATE OR REPLACE FUNCTION draftline.compose_nodes(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    b_removals text[] := ARRAY(SELECT jsonb_array_elements_text(b -> 'r'));
    b_touched text[] := b_removals || ARRAY(SELECT jsonb_object_keys(coalesce(b -> 's', '{}')));
    composed jsonb := a;
    added jsonb;
    child record;
BEGIN
    -- What meets nothing of its key, or a node, is composed at once; what meets another member, key by key.
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
    -- Only a removal takes back what made an object.
    IF NOT (b ?| '{r,o}' OR a ? 'o') OR draftline.puts(composed) OR NOT (draftline.puts(a) OR draftline.puts(b)) THEN
        RETURN composed;
    END IF;
    RETURN composed || '{"o": true}';
END $$;

-- A node with another action at one of its keys: a value of a member, or a removal where the value is NULL.
CREATE FUNCTION draftline.with_key(node jsonb, key text, member text, value jsonb) RETURNS jsonb
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

-- A node, and then a node below a key that it sets, removes or transforms.
CREATE FUNCTION draftline.compose_merge(a jsonb, key text, child jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN a -> 's' ? key THEN draftline.with_key(a, key, 's', draftline.apply_node(child, a -> 's' -> key))
        WHEN a -> 'r' ? key THEN draftline.with_key(a, key, 's', draftline.apply_node(child, NULL))
        -- Steps leave no object.
        WHEN a -> 't' ? key AND draftline.puts(child)
            THEN draftline.with_key(a, key, 's', draftline.apply_node(child, NULL))
        ELSE a
    END
$$;

-- A node, and then steps on what is at one of its keys.
CREATE FUNCTION draftline.compose_steps(a jsonb, key text, steps jsonb) RETURNS jsonb
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

-- The edit that puts back, at the paths of an edit, what a content holds there. Under a node for which there was
-- nothing at all, it says so with {"n": true}: then what the edit adds there is not in conflict with that there is
-- nothing, as it is where an object was removed.
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
