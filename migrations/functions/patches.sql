-- Patches: merge strategies and the operations of RFC 6902.

-- Merge objects key by key, down to `depth` levels; 0: all levels, 1: the same as `||`.
CREATE OR REPLACE FUNCTION draftline.merge_deep(target jsonb, delta jsonb, depth int) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF depth = 1 THEN
        RETURN target || delta;
    END IF;
    RETURN target || coalesce((
        SELECT jsonb_object_agg(d.key,
            CASE WHEN jsonb_typeof(d.value) = 'object' AND jsonb_typeof(target -> d.key) = 'object'
                 THEN draftline.merge_deep(target -> d.key, d.value, greatest(depth - 1, 0))
                 ELSE d.value END)
        FROM jsonb_each(delta) AS d
        -- Only what is merged needs the walk; `||` takes the rest as it is.
    ), '{}');
END $$;

-- Apply a merge patch (RFC 7396, section 2): recursively, and null deletes.
CREATE OR REPLACE FUNCTION draftline.merge_patch(target jsonb, patch jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    merged jsonb := CASE WHEN jsonb_typeof(target) = 'object' THEN target ELSE '{}' END;
BEGIN
    IF jsonb_typeof(patch) <> 'object' THEN
        RETURN patch;
    END IF;
    RETURN coalesce((
        SELECT (merged - coalesce(array_agg(p.key) FILTER (WHERE p.value = 'null'), '{}'))
            || coalesce(jsonb_object_agg(p.key,
                   CASE WHEN jsonb_typeof(p.value) = 'object'
                        THEN draftline.merge_patch(merged -> p.key, p.value)
                        ELSE p.value END) FILTER (WHERE p.value <> 'null'), '{}')
        FROM jsonb_each(patch) AS p
    ), merged);
END $$;

-- Return the JSON Pointer (RFC 6901) of reference tokens.
CREATE OR REPLACE FUNCTION draftline.pointer(path text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(string_agg('/' || replace(replace(token, '~', '~0'), '/', '~1'), '' ORDER BY place), '')
    FROM unnest(path) WITH ORDINALITY AS t(token, place)
$$;

-- Return whether a reference token is an array index: digits without a leading zero.
CREATE OR REPLACE FUNCTION draftline.is_index(token text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT token ~ '^(0|[1-9][0-9]{0,8})$'
$$;

-- Return the value at a path by the rules of RFC 6901; NULL if there is none. `#>` would also accept -1 and 01 as
-- indexes.
CREATE OR REPLACE FUNCTION draftline.resolve(document jsonb, path text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    token text;
BEGIN
    FOREACH token IN ARRAY path LOOP
        document := CASE jsonb_typeof(document)
            WHEN 'object' THEN document -> token
            WHEN 'array' THEN CASE WHEN draftline.is_index(token) THEN document -> token::int END
        END;
        EXIT WHEN document IS NULL;
    END LOOP;
    RETURN document;
END $$;

-- Apply `add` (RFC 6902, section 4.1); NULL if the path does not resolve.
CREATE OR REPLACE FUNCTION draftline.add_at(document jsonb, path text[], value jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    parent jsonb;
    token text := path[cardinality(path)];
BEGIN
    IF cardinality(path) = 0 THEN
        RETURN value;
    END IF;
    parent := draftline.resolve(document, trim_array(path, 1));
    IF jsonb_typeof(parent) = 'object' THEN
        RETURN jsonb_set(document, path, value);
    ELSIF jsonb_typeof(parent) = 'array' THEN
        IF token = '-' THEN
            token := jsonb_array_length(parent)::text;
        END IF;
        IF draftline.is_index(token) AND token::int <= jsonb_array_length(parent) THEN
            RETURN jsonb_insert(document, trim_array(path, 1) || token, value);
        END IF;
    END IF;
    RETURN NULL;
END $$;

-- Append those additions that the array lacks, each value once.
CREATE OR REPLACE FUNCTION draftline.array_union(target jsonb, additions jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT target || coalesce(jsonb_agg(added.item ORDER BY added.place), '[]')
    FROM (
        SELECT item, min(place) AS place
        FROM jsonb_array_elements(additions) WITH ORDINALITY AS a(item, place)
        WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(target) AS t(item) WHERE t.item = a.item)
        GROUP BY item
    ) AS added
$$;

-- Remove every element that equals one of the removals.
CREATE OR REPLACE FUNCTION draftline.array_subtract(target jsonb, removals jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_agg(item ORDER BY place), '[]')
    FROM jsonb_array_elements(target) WITH ORDINALITY AS t(item, place)
    WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(removals) AS r(item) WHERE r.item = t.item)
$$;

-- Apply one operation, {"op", "path": [tokens], "from": [tokens], "value"}. Return the new document, or the reason and
-- the problem of its failure.
CREATE OR REPLACE FUNCTION draftline.apply_operation(
    INOUT document jsonb, operation jsonb, OUT reason text, OUT at text[], OUT problem text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    op text := operation ->> 'op';
    path text[] := ARRAY(SELECT jsonb_array_elements_text(operation -> 'path'));
    source text[];
    value jsonb := operation -> 'value';
    target jsonb;
BEGIN
    reason := 'INVALID_OPERATION';
    problem := 'does not resolve';
    at := path;
    IF op IN ('move', 'copy') THEN
        source := ARRAY(SELECT jsonb_array_elements_text(operation -> 'from'));
        value := draftline.resolve(document, source);
        IF value IS NULL THEN
            at := source;
            document := NULL;
            RETURN;
        END IF;
    ELSIF op <> 'add' THEN
        target := draftline.resolve(document, path);
    END IF;

    CASE op
        WHEN 'add', 'copy' THEN
            document := draftline.add_at(document, path, value);
        WHEN 'remove' THEN
            IF cardinality(path) = 0 THEN
                problem := 'the whole document cannot be removed';
            END IF;
            document := CASE WHEN target IS NOT NULL AND cardinality(path) > 0 THEN document #- path END;
        WHEN 'replace' THEN
            document := CASE WHEN target IS NOT NULL THEN draftline.put_at(document, path, value) END;
        WHEN 'move' THEN
            IF source <> path AND source = path[1:cardinality(source)] THEN
                at := source;
                problem := 'cannot be moved into itself';
                document := NULL;
            ELSIF source <> path THEN
                document := draftline.add_at(document #- source, path, value);
            END IF;
        WHEN 'test' THEN
            reason := 'TEST_FAILED';
            document := CASE WHEN target = value THEN document END;
        WHEN 'increment' THEN
            IF target IS NULL THEN
                document := draftline.add_at(document, path, value);
            ELSIF jsonb_typeof(target) = 'number' THEN
                document := draftline.put_at(document, path, to_jsonb(target::numeric + value::numeric));
            ELSE
                problem := 'does not lead to a number';
                document := NULL;
            END IF;
        WHEN 'union' THEN
            IF target IS NULL THEN
                document := draftline.add_at(document, path, draftline.array_union('[]', value));
            ELSIF jsonb_typeof(target) = 'array' THEN
                document := draftline.put_at(document, path, draftline.array_union(target, value));
            ELSE
                problem := 'does not lead to an array';
                document := NULL;
            END IF;
        WHEN 'subtract' THEN
            IF jsonb_typeof(target) = 'array' THEN
                document := draftline.put_at(document, path, draftline.array_subtract(target, value));
            ELSIF target IS NOT NULL THEN
                problem := 'does not lead to an array';
                document := NULL;
            END IF;
    END CASE;
END $$;

-- Set the value at a path that exists, or at a new key of an object.
CREATE OR REPLACE FUNCTION draftline.put_at(document jsonb, path text[], value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN cardinality(path) = 0 THEN value ELSE jsonb_set(document, path, value) END
$$;

-- Apply operations in order, all or none.
CREATE OR REPLACE FUNCTION draftline.apply_operations(
    document jsonb, operations jsonb, max_bytes int, max_depth int) RETURNS draftline.edit_outcome
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    operation jsonb;
    step record;
    place int := 0;
BEGIN
    FOR operation IN SELECT o FROM jsonb_array_elements(operations) AS o LOOP
        step := draftline.apply_operation(document, operation);
        IF step.document IS NULL THEN
            RETURN (NULL, jsonb_build_object('reason', step.reason, 'operation', place,
                'path', draftline.pointer(step.at), 'message', step.problem))::draftline.edit_outcome;
        END IF;
        document := step.document;
        -- Copies can double a document many times, and each step can nest a value deeper: check the limits after each.
        IF pg_column_size(document) > 4 * max_bytes THEN
            RETURN (NULL, draftline.too_large('size', max_bytes))::draftline.edit_outcome;
        ELSIF (CASE WHEN operation ->> 'op' IN ('copy', 'move') THEN draftline.is_deeper(document, max_depth)
                    WHEN operation ->> 'op' IN ('add', 'replace', 'increment', 'union')
                    THEN jsonb_array_length(operation -> 'path') > max_depth END) THEN
            RETURN (NULL, draftline.too_large('depth', max_depth))::draftline.edit_outcome;
        END IF;
        place := place + 1;
    END LOOP;
    IF jsonb_typeof(document) <> 'object' THEN
        RETURN (NULL, jsonb_build_object('reason', 'INVALID_OPERATION', 'path', '',
            'message', 'would be left with a value that is not an object'))::draftline.edit_outcome;
    END IF;
    RETURN (document, NULL)::draftline.edit_outcome;
END $$;

-- Apply an edit of any kind: a merge strategy, OPERATIONS, or NONE.
CREATE OR REPLACE FUNCTION draftline.edit(
    content jsonb, kind text, edit jsonb, depth int, max_bytes int, max_depth int) RETURNS draftline.edit_outcome
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CASE kind
        WHEN 'SHALLOW' THEN (content || edit, NULL)::draftline.edit_outcome
        WHEN 'OPERATIONS' THEN draftline.apply_operations(content, edit, max_bytes, max_depth)
        WHEN 'DEEP' THEN (draftline.merge_deep(content, edit, depth), NULL)::draftline.edit_outcome
        WHEN 'MERGE_PATCH' THEN (draftline.merge_patch(content, edit), NULL)::draftline.edit_outcome
        WHEN 'REPLACE' THEN (edit, NULL)::draftline.edit_outcome
        ELSE (content, NULL)::draftline.edit_outcome
    END;
END $$;

-- Return the top-level keys whose values differ, in code point order.
CREATE OR REPLACE FUNCTION draftline.changed_fields(old jsonb, new jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN ARRAY(
        SELECT k FROM (
            SELECT n.key FROM jsonb_each(new) AS n WHERE old -> n.key IS DISTINCT FROM n.value
            UNION ALL SELECT o FROM jsonb_object_keys(old) AS o WHERE NOT new ? o
        ) AS changed (k) ORDER BY k COLLATE "C");
END $$;
