-- What was replaced stays: it means the same, but that difference() does without difference_at again.
CREATE OR REPLACE FUNCTION draftline.difference(old jsonb, new jsonb) RETURNS draftline.based_edit
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    sets jsonb;
    olds jsonb;
    added text[];
    removed text[];
    merges jsonb := '{}';
    base_merges jsonb := '{}';
    nested text[];
    name text;
    child draftline.based_edit;
BEGIN
    SELECT jsonb_object_agg(n.key, n.value) FILTER (WHERE NOT n.is_nested),
        jsonb_object_agg(n.key, n.old) FILTER (WHERE NOT n.is_nested AND n.old IS NOT NULL),
        array_agg(n.key) FILTER (WHERE n.old IS NULL), array_agg(n.key) FILTER (WHERE n.is_nested)
    INTO sets, olds, added, nested
    FROM (
        SELECT e.key, e.value, old -> e.key AS old,
            jsonb_typeof(e.value) = 'object' AND coalesce(jsonb_typeof(old -> e.key) = 'object', false) AS is_nested
        FROM jsonb_each(new) AS e
        WHERE old -> e.key IS DISTINCT FROM e.value
    ) AS n;
    removed := ARRAY(SELECT k FROM jsonb_object_keys(old) AS k WHERE NOT new ? k);
    IF removed <> '{}' THEN
        olds := coalesce(olds, '{}') || (SELECT jsonb_object_agg(k, old -> k) FROM unnest(removed) AS k);
    END IF;
    IF nested IS NOT NULL THEN
        FOREACH name IN ARRAY nested LOOP
            child := draftline.difference(old -> name, new -> name);
            merges := merges || jsonb_build_object(name, child.edit);
            base_merges := base_merges || jsonb_build_object(name, child.base);
        END LOOP;
    ELSIF added IS NULL AND removed = '{}' THEN
        RETURN (CASE WHEN sets IS NULL THEN '{}' ELSE jsonb_build_object('s', sets) END,
            CASE WHEN olds IS NULL THEN '{}' ELSE jsonb_build_object('s', olds) END)::draftline.based_edit;
    END IF;
    RETURN (draftline.node(coalesce(sets, '{}'), removed, merges),
        draftline.node(coalesce(olds, '{}'), coalesce(added, '{}'), base_merges))::draftline.based_edit;
END $$;
DROP FUNCTION draftline.difference_at, draftline.rebase_sets;
