-- What every patch and every draft does, in less time. What is replaced here means what it meant before.

-- The edit that makes one content of another, the one that takes it back, and the top-level keys that differ, in no
-- order. Only the keys of `touched` are looked at: no other may differ. Written so that it becomes part of the query
-- that calls it; a function with a query of its own costs five times as much.
CREATE FUNCTION draftline.difference_at(old jsonb, new jsonb, touched jsonb)
RETURNS TABLE (edit jsonb, base jsonb, fields text[])
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1 AS $$
    SELECT
        CASE WHEN d.removed IS NULL AND d.merges IS NULL THEN jsonb_build_object('s', d.sets)
             ELSE draftline.node(coalesce(d.sets, '{}'), coalesce(d.removed, '{}'), coalesce(d.merges, '{}')) END,
        CASE WHEN d.added IS NULL AND d.merges IS NULL THEN jsonb_build_object('s', d.olds)
             ELSE draftline.node(coalesce(d.olds, '{}'), coalesce(d.added, '{}'), coalesce(d.base_merges, '{}')) END,
        d.fields
    FROM (
        SELECT array_agg(t.key) AS fields,
            jsonb_object_agg(t.key, new -> t.key) FILTER (WHERE t.child IS NULL AND new ? t.key) AS sets,
            array_agg(t.key) FILTER (WHERE NOT new ? t.key) AS removed,
            jsonb_object_agg(t.key, old -> t.key) FILTER (WHERE t.child IS NULL AND old ? t.key) AS olds,
            array_agg(t.key) FILTER (WHERE NOT old ? t.key) AS added,
            jsonb_object_agg(t.key, (t.child).edit) FILTER (WHERE t.child IS NOT NULL) AS merges,
            jsonb_object_agg(t.key, (t.child).base) FILTER (WHERE t.child IS NOT NULL) AS base_merges
        FROM (
            SELECT k AS key, CASE
                WHEN jsonb_typeof(old -> k) = 'object' AND jsonb_typeof(new -> k) = 'object'
                THEN draftline.difference(old -> k, new -> k) END AS child
            FROM jsonb_object_keys(touched) AS k
            WHERE old -> k IS DISTINCT FROM new -> k
            OFFSET 0  -- so that the child is made once
        ) AS t
        HAVING count(*) > 0
    ) AS d
$$;

CREATE OR REPLACE FUNCTION draftline.difference(old jsonb, new jsonb) RETURNS draftline.based_edit
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    found draftline.based_edit;
BEGIN
    SELECT d.edit, d.base INTO found FROM draftline.difference_at(old, new, old || new) AS d;
    RETURN CASE WHEN found.edit IS NULL THEN ('{}', '{}')::draftline.based_edit ELSE found END;
END $$;

-- What rebase() makes of a draft's edit that only sets keys, as nearly every one does; and those of the keys whose
-- values are not the content's, in no order. Becomes part of the query that calls it, as difference_at does.
CREATE FUNCTION draftline.rebase_sets(sets jsonb, basis jsonb, content jsonb)
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

CREATE OR REPLACE FUNCTION draftline.overlong_text(content jsonb, indexed_text jsonb, max_text_bytes int) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    path jsonb;
    value jsonb;
BEGIN
    FOR place IN 0 .. jsonb_array_length(indexed_text) - 1 LOOP
        path := indexed_text -> place;
        value := content;
        FOR depth IN 0 .. jsonb_array_length(path) - 1 LOOP
            value := value #> ARRAY[path ->> depth];  -- as indexed_text_at finds it: in arrays too
        END LOOP;
        IF jsonb_typeof(value) = 'string' AND octet_length(value #>> '{}') > max_text_bytes THEN
            RETURN draftline.pointer(ARRAY(SELECT jsonb_array_elements_text(path)));
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- max_depth NULL: what was made of contents and edits that are no deeper cannot be.
CREATE OR REPLACE FUNCTION draftline.content_failure(
    content jsonb, indexed_text jsonb, max_bytes int, max_depth int, max_text_bytes int) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    bytes int := octet_length(content::text);
    path text;
BEGIN
    IF bytes > max_bytes THEN
        RETURN draftline.too_large('size', max_bytes);
    ELSIF max_depth IS NOT NULL AND draftline.is_deeper(content, max_depth) THEN
        RETURN draftline.too_large('depth', max_depth);
    ELSIF bytes > max_text_bytes AND indexed_text <> '[]' THEN
        path := draftline.overlong_text(content, indexed_text, max_text_bytes);
        IF path IS NOT NULL THEN
            RETURN jsonb_build_object('reason', 'INDEXED_TEXT_TOO_LONG', 'path', path, 'limit', max_text_bytes);
        END IF;
    END IF;
    RETURN NULL;
END $$;
