-- The functions that 0006 replaced, as they were.

CREATE OR REPLACE FUNCTION draftline.apply_node(node jsonb, target jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    merged jsonb := CASE WHEN jsonb_typeof(target) = 'object' THEN target ELSE '{}' END;
BEGIN
    IF node ? 'r' THEN
        merged := merged - ARRAY(SELECT jsonb_array_elements_text(node -> 'r'));
    END IF;
    IF node ? 'm' THEN
        merged := merged || (SELECT jsonb_object_agg(m.key, draftline.apply_node(m.value, merged -> m.key))
                             FROM jsonb_each(node -> 'm') AS m);
    END IF;
    RETURN CASE WHEN node ? 's' THEN merged || (node -> 's') ELSE merged END;
END $$;

CREATE OR REPLACE FUNCTION draftline.apply_edit(edit jsonb, content jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(edit -> 'v', draftline.apply_node(edit, content))
$$;

CREATE OR REPLACE FUNCTION draftline.compose_nodes(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    a_sets jsonb := coalesce(a -> 's', '{}');
    a_removals text[] := ARRAY(SELECT jsonb_array_elements_text(a -> 'r'));
    a_merges jsonb := coalesce(a -> 'm', '{}');
    b_sets jsonb := coalesce(b -> 's', '{}');
    b_removals text[] := ARRAY(SELECT jsonb_array_elements_text(b -> 'r'));
    b_touched text[] := b_removals || ARRAY(SELECT jsonb_object_keys(b_sets));
    child record;
BEGIN
    FOR child IN SELECT key, value FROM jsonb_each(coalesce(b -> 'm', '{}')) LOOP
        IF a_sets ? child.key THEN
            a_sets := a_sets || jsonb_build_object(child.key,
                draftline.apply_node(child.value, a_sets -> child.key));
        ELSIF child.key = ANY (a_removals) THEN
            a_removals := array_remove(a_removals, child.key);
            a_sets := a_sets || jsonb_build_object(child.key, draftline.apply_node(child.value, NULL));
        ELSE
            a_merges := a_merges || jsonb_build_object(child.key,
                draftline.compose(coalesce(a_merges -> child.key, '{}'), child.value));
        END IF;
    END LOOP;
    RETURN draftline.node(
        (a_sets - b_touched) || b_sets,
        ARRAY(SELECT unnest(a_removals) EXCEPT SELECT unnest(b_touched) ORDER BY 1) || b_removals,
        a_merges - b_touched);
END $$;

CREATE OR REPLACE FUNCTION draftline.inverse_node(node jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    present jsonb := CASE WHEN jsonb_typeof(content) = 'object' THEN content ELSE '{}' END;
    touched text[] := CASE WHEN node ? 's' THEN ARRAY(SELECT jsonb_object_keys(node -> 's')) ELSE '{}' END;
    absent text[] := '{}';
BEGIN
    IF node ? 'r' THEN
        touched := touched || ARRAY(SELECT jsonb_array_elements_text(node -> 'r'));
    END IF;
    IF NOT present ?& touched THEN
        absent := ARRAY(SELECT k FROM unnest(touched) AS k WHERE NOT present ? k ORDER BY k);
    END IF;
    RETURN draftline.node(
        coalesce((SELECT jsonb_object_agg(k, present -> k) FROM unnest(touched) AS k WHERE present ? k), '{}'),
        absent,
        CASE WHEN node ? 'm' THEN (SELECT jsonb_object_agg(m.key, draftline.inverse_node(m.value, present -> m.key))
                                   FROM jsonb_each(node -> 'm') AS m) ELSE '{}' END);
END $$;

CREATE OR REPLACE FUNCTION draftline.restore_node(base jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    restored jsonb;
    child record;
    inner_value jsonb;
BEGIN
    IF jsonb_typeof(content) = 'object' THEN
        restored := content - ARRAY(SELECT jsonb_array_elements_text(base -> 'r'));
    ELSE
        restored := '{}';
    END IF;
    restored := restored || coalesce(base -> 's', '{}');
    FOR child IN SELECT key, value FROM jsonb_each(coalesce(base -> 'm', '{}')) LOOP
        inner_value := draftline.restore_node(child.value, restored -> child.key);
        IF inner_value IS NOT NULL THEN
            restored := restored || jsonb_build_object(child.key, inner_value);
        END IF;
    END LOOP;
    RETURN CASE WHEN restored = '{}' AND content IS NULL THEN NULL ELSE restored END;
END $$;

CREATE OR REPLACE FUNCTION draftline.prune_node(node jsonb, content jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    sets jsonb := coalesce(node -> 's', '{}');
    removals text[] := '{}';
    merges jsonb := '{}';
    child record;
    pruned jsonb;
BEGIN
    sets := sets - ARRAY(SELECT key FROM jsonb_each(sets) WHERE content -> key = value);
    IF node ? 'r' THEN
        removals := ARRAY(SELECT k FROM jsonb_array_elements_text(node -> 'r') AS k WHERE content ? k);
    END IF;
    IF NOT node ? 'm' THEN
        RETURN draftline.node(sets, removals, merges);
    END IF;
    FOR child IN SELECT key, value FROM jsonb_each(node -> 'm') LOOP
        IF content ? child.key AND jsonb_typeof(content -> child.key) <> 'object' THEN
            sets := sets || jsonb_build_object(child.key, draftline.apply_node(child.value, NULL));
            CONTINUE;
        END IF;
        pruned := draftline.prune_node(child.value, coalesce(content -> child.key, '{}'));
        IF pruned <> '{}' THEN
            merges := merges || jsonb_build_object(child.key, pruned);
        ELSIF NOT content ? child.key THEN
            sets := sets || jsonb_build_object(child.key, '{}'::jsonb);
        END IF;
    END LOOP;
    RETURN draftline.node(sets, removals, merges);
END $$;

CREATE OR REPLACE FUNCTION draftline.prune(edit jsonb, content jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN edit -> 'v' = content THEN '{}' WHEN edit ? 'v' THEN edit
                ELSE draftline.prune_node(edit, content) END
$$;

CREATE OR REPLACE FUNCTION draftline.rebase(edit jsonb, content jsonb) RETURNS draftline.based_edit
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    pruned jsonb;
    sets jsonb;
    old jsonb;
    absent text[];
BEGIN
    IF edit - 's' <> '{}' OR edit = '{}' THEN
        pruned := draftline.prune(edit, content);
        RETURN (pruned, draftline.inverse(pruned, content))::draftline.based_edit;
    END IF;
    SELECT jsonb_object_agg(s.key, s.value), jsonb_object_agg(s.key, content -> s.key) FILTER (WHERE content ? s.key),
        array_agg(s.key ORDER BY s.key) FILTER (WHERE NOT content ? s.key)
    INTO sets, old, absent
    FROM jsonb_each(edit -> 's') AS s
    WHERE content -> s.key IS DISTINCT FROM s.value;
    RETURN (draftline.node(coalesce(sets, '{}'), '{}', '{}'),
        draftline.node(coalesce(old, '{}'), coalesce(absent, '{}'), '{}'))::draftline.based_edit;
END $$;

CREATE OR REPLACE FUNCTION draftline.modified_fields(kind text, edit jsonb, content jsonb, merged jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF kind = 'DELETE' OR content IS NULL OR edit ? 'v' THEN
        RETURN draftline.changed_fields(coalesce(content, '{}'), CASE kind WHEN 'DELETE' THEN '{}' ELSE merged END);
    END IF;
    RETURN ARRAY(
        SELECT k FROM (
            SELECT jsonb_object_keys(coalesce(edit -> 's', '{}') || coalesce(edit -> 'm', '{}'))
            UNION ALL SELECT jsonb_array_elements_text(edit -> 'r')
        ) AS touched (k)
        WHERE content -> k IS DISTINCT FROM merged -> k ORDER BY k COLLATE "C");
END $$;

CREATE OR REPLACE FUNCTION draftline.edit_of_operations(
    content jsonb, operations jsonb, max_bytes int, max_depth int) RETURNS draftline.edit_outcome
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    outcome draftline.edit_outcome := draftline.apply_operations(content, operations, max_bytes, max_depth);
    edit jsonb := '{}';
    touched jsonb;
    path text[];
    depth int;
BEGIN
    IF outcome.failure IS NOT NULL THEN
        RETURN outcome;
    END IF;
    FOR touched IN
        SELECT o -> 'path' FROM jsonb_array_elements(operations) AS o
        UNION ALL SELECT o -> 'from' FROM jsonb_array_elements(operations) AS o WHERE o ->> 'op' = 'move'
    LOOP
        path := ARRAY(SELECT jsonb_array_elements_text(touched));
        depth := 0;
        WHILE depth < cardinality(path) AND jsonb_typeof(content #> path[1:depth]) = 'object'
                AND jsonb_typeof(outcome.content #> path[1:depth]) = 'object' LOOP
            depth := depth + 1;
        END LOOP;
        path := path[1:depth];
        edit := draftline.compose(edit, draftline.edit_at(path, outcome.content #> path));
    END LOOP;
    RETURN (edit, NULL)::draftline.edit_outcome;
END $$;

CREATE OR REPLACE FUNCTION draftline.refresh_drafts(tenant text, collections text[], record_ids text[], contents jsonb[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    refreshed bigint;
BEGIN
    WITH stale AS MATERIALIZED (
        SELECT d.user_id, d.collection, d.record_id, d.edit, p.content
        FROM draftline.draft AS d
        JOIN unnest(collections, record_ids, contents) AS p (collection, record_id, content)
            ON d.collection = p.collection AND d.record_id = p.record_id
        WHERE d.tenant_id = tenant AND d.kind <> 'CREATE'
        ORDER BY d.collection, d.record_id, d.user_id
        FOR UPDATE OF d
    )
    UPDATE draftline.draft AS d
    SET merged = draftline.apply_edit(s.edit, s.content)
    FROM stale AS s
    WHERE d.tenant_id = tenant AND d.user_id = s.user_id AND d.collection = s.collection
      AND d.record_id = s.record_id;
    GET DIAGNOSTICS refreshed = ROW_COUNT;
    RETURN refreshed;
END $$;
