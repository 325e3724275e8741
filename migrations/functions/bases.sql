-- The base of a draft: the values at its edited paths when it was saved.

-- Restore a node of a base; see restore. NULL where the base had nothing and the content has only what the edit adds.
CREATE OR REPLACE FUNCTION draftline.restore_node(base jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    restored jsonb := CASE WHEN jsonb_typeof(content) = 'object' THEN content ELSE '{}' END;
    child record;
    inner_value jsonb;
BEGIN
    IF base ? 'r' THEN
        restored := restored - ARRAY(SELECT jsonb_array_elements_text(base -> 'r'));
    END IF;
    restored := restored || coalesce(base -> 's', '{}');
    IF base ? 'm' THEN
        FOR child IN SELECT key, value FROM jsonb_each(base -> 'm') LOOP
            inner_value := draftline.restore_node(child.value, restored -> child.key);
            restored := CASE WHEN inner_value IS NULL THEN restored - child.key
                ELSE restored || jsonb_build_object(child.key, inner_value) END;
        END LOOP;
    END IF;
    RETURN CASE WHEN base ? 'n' AND restored = '{}' THEN NULL ELSE restored END;
END $$;

-- Return the content that a base was taken from, completed by `content` at all other paths.
CREATE OR REPLACE FUNCTION draftline.restore(base jsonb, content jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN base = '{}' THEN content ELSE coalesce(base -> 'v', draftline.restore_node(base, content)) END
$$;

-- Remove from a node what changes neither its base nor the content: values that are there already, and removals of
-- missing values. What differs from either one stays, because it decides about a value that others have changed.
CREATE OR REPLACE FUNCTION draftline.prune_node(node jsonb, basis jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    sets jsonb := '{}';
    removals text[] := '{}';
    merges jsonb := '{}';
    transforms jsonb := '{}';
    child record;
    pruned jsonb;
BEGIN
    IF node ? 's' THEN
        sets := (node -> 's') - ARRAY(
            SELECT key FROM jsonb_each(node -> 's') WHERE basis -> key = value AND content -> key = value);
    END IF;
    IF node ? 'r' THEN
        removals := ARRAY(SELECT k FROM jsonb_array_elements_text(node -> 'r') AS k WHERE basis ? k OR content ? k);
    END IF;
    IF node ? 't' THEN
        transforms := coalesce((
            SELECT jsonb_object_agg(p.key, p.steps)
            FROM (SELECT t.key, draftline.prune_steps(t.value, basis -> t.key, content -> t.key) AS steps
                  FROM jsonb_each(node -> 't') AS t OFFSET 0) AS p
            WHERE p.steps IS NOT NULL), '{}');
    END IF;
    IF NOT node ? 'm' THEN
        RETURN draftline.node(sets, removals, merges, transforms, false);
    END IF;
    FOR child IN SELECT m.key, m.value, basis -> m.key AS basis, content -> m.key AS content
        FROM jsonb_each(node -> 'm') AS m
    LOOP
        IF jsonb_typeof(child.basis) = 'object' AND jsonb_typeof(child.content) = 'object' THEN
            pruned := draftline.prune_node(child.value, child.basis, child.content);
            IF pruned <> '{}' THEN
                merges := merges || jsonb_build_object(child.key, pruned);
            END IF;
            CONTINUE;
        END IF;
        pruned := draftline.prune_child(child.value, child.basis, child.content);
        IF pruned ? 'm' THEN
            merges := merges || jsonb_build_object(child.key, pruned -> 'm');
        ELSIF pruned ? 's' THEN
            sets := sets || jsonb_build_object(child.key, pruned -> 's');
        END IF;
    END LOOP;
    RETURN draftline.node(sets, removals, merges, transforms, false);
END $$;

-- Remove from an edit what changes neither its base nor the content; see prune_node.
CREATE OR REPLACE FUNCTION draftline.prune(edit jsonb, basis jsonb, content jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN edit -> 'v' = basis AND edit -> 'v' = content THEN '{}' WHEN edit ? 'v' THEN edit
                ELSE draftline.prune_node(edit, basis, content) END
$$;

-- Return the edit that a draft stores, prune(edit, basis, content), and its inverse for the basis.
CREATE OR REPLACE FUNCTION draftline.rebase(edit jsonb, basis jsonb, content jsonb) RETURNS draftline.based_edit
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    pruned jsonb;
BEGIN
    IF edit - 's' <> '{}' OR edit = '{}' THEN
        pruned := draftline.prune(edit, basis, content);
        RETURN (pruned, draftline.inverse(pruned, basis))::draftline.based_edit;
    END IF;
    RETURN (SELECT (r.edit, r.base)::draftline.based_edit FROM draftline.rebase_sets(edit -> 's', basis, content) AS r);
END $$;

-- Return the same as rebase for an edit that only sets keys, as nearly every edit does, and those keys whose values
-- differ from the content's, in no order. Like difference_at, it is inlined into the calling query.
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
        WHERE basis -> e.key IS DISTINCT FROM e.value OR content -> e.key IS DISTINCT FROM e.value
    ) AS r
$$;

-- Remove from steps what changes neither the base nor the content; NULL if nothing is left.
CREATE OR REPLACE FUNCTION draftline.prune_steps(steps jsonb, basis jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    first jsonb := steps -> 0;
    kept jsonb := steps;
    absent jsonb;
BEGIN
    IF first ? 'increment' THEN
        RETURN CASE WHEN first -> 'increment' = '0' AND jsonb_typeof(basis) = 'number'
            AND jsonb_typeof(content) = 'number' THEN NULL ELSE steps END;
    ELSIF jsonb_typeof(basis) <> 'array' OR jsonb_typeof(content) <> 'array' THEN
        RETURN steps;
    END IF;
    IF first ? 'subtract' THEN
        absent := draftline.array_subtract(first -> 'subtract', coalesce(basis, '[]') || coalesce(content, '[]'));
        kept := jsonb_build_array(jsonb_build_object('subtract',
            draftline.array_subtract(first -> 'subtract', absent))) || (steps - 0);
    END IF;
    IF kept -> 0 = '{"subtract": []}' THEN
        kept := kept - 0;
    END IF;
    IF kept -> -1 = '{"union": []}' AND basis IS NOT NULL AND content IS NOT NULL THEN
        kept := kept - -1;
    END IF;
    RETURN nullif(kept, '[]');
END $$;

-- Return what is left of a node below a key: {"m": node}; {"s": value} where it replaces something else by an object;
-- or {}.
CREATE OR REPLACE FUNCTION draftline.prune_child(child jsonb, basis jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    pruned jsonb;
    inner_content jsonb := CASE WHEN jsonb_typeof(content) = 'object' THEN content ELSE '{}' END;
BEGIN
    IF jsonb_typeof(basis) <> 'object' THEN
        RETURN CASE WHEN draftline.puts(child) THEN jsonb_build_object('s', draftline.apply_node(child, NULL))
            ELSE '{}' END;
    END IF;
    pruned := draftline.prune_node(child, coalesce(basis, '{}'), inner_content);
    IF pruned <> '{}' THEN
        RETURN jsonb_build_object('m', pruned);
    ELSIF basis IS NULL AND jsonb_typeof(content) IS DISTINCT FROM 'object' AND draftline.puts(child) THEN
        RETURN '{"s": {}}';
    END IF;
    RETURN '{}';
END $$;

-- Return the values that a base holds at the paths of its edit: all that is known of an object that no longer exists.
CREATE OR REPLACE FUNCTION draftline.base_value(base jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT draftline.restore_node(coalesce(base, '{}'), NULL)
$$;

-- Return the basis of a draft after a save by a user who looked at `content`: its values at the paths of `step`, and
-- the earlier basis elsewhere. `edited`: the draft with the step; where it edits more than the step does, all of that
-- is based on the content.
CREATE OR REPLACE FUNCTION draftline.seen_basis(step jsonb, edited jsonb, basis jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    result jsonb := CASE WHEN jsonb_typeof(basis) = 'object' THEN basis ELSE '{}' END;
    name text;
BEGIN
    IF step IS NULL THEN
        RETURN basis;
    ELSIF step ? 'v' OR edited IS NULL OR edited ? 'v' OR jsonb_typeof(content) IS DISTINCT FROM 'object' THEN
        RETURN content;
    END IF;
    FOR name IN
        SELECT jsonb_object_keys(step -> 's') UNION ALL SELECT jsonb_array_elements_text(step -> 'r')
        UNION ALL SELECT jsonb_object_keys(step -> 't')
    LOOP
        result := draftline.put_value(result, ARRAY[name], content -> name);
    END LOOP;
    FOR name IN SELECT jsonb_object_keys(step -> 'm') LOOP
        result := draftline.put_value(result, ARRAY[name], draftline.seen_basis(
            step -> 'm' -> name, edited -> 'm' -> name, basis -> name, content -> name));
    END LOOP;
    RETURN result;
END $$;
