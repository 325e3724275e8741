-- Operations as edits.

-- Whether all tokens of a path but the last lead through objects.
CREATE FUNCTION draftline.is_member(content jsonb, path text[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    FOR depth IN 0 .. cardinality(path) - 1 LOOP
        IF jsonb_typeof(content #> path[1:depth]) IS DISTINCT FROM 'object' THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN cardinality(path) > 0;
END $$;

-- The edit that applies steps to what is at a path.
CREATE FUNCTION draftline.steps_at(path text[], steps jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN cardinality(path) = 1 THEN jsonb_build_object('t', jsonb_build_object(path[1], steps))
        ELSE jsonb_build_object('m', jsonb_build_object(path[1], draftline.steps_at(path[2:], steps))) END
$$;

-- The edit that makes, of one content, what another has at a path. Inside an array it is the whole array that is set,
-- for its indexes mean nothing in another content.
CREATE FUNCTION draftline.edit_to(before jsonb, after jsonb, path text[]) RETURNS jsonb
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

-- What an operation of transforms does to a value, as steps: without what is there, or is not there, already. NULL:
-- nothing.
CREATE FUNCTION draftline.steps_of(op text, value jsonb, target jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    items jsonb;
BEGIN
    IF op = 'increment' THEN
        RETURN CASE WHEN target IS NULL OR value <> '0'
            THEN jsonb_build_array(jsonb_build_object('increment', value)) END;
    END IF;
    items := draftline.array_union('[]', value);
    IF op = 'union' THEN
        items := draftline.array_subtract(items, coalesce(target, '[]'));
        RETURN CASE WHEN target IS NULL OR items <> '[]'
            THEN jsonb_build_array(jsonb_build_object('union', items)) END;
    END IF;
    items := draftline.array_subtract(items, draftline.array_subtract(items, coalesce(target, '[]')));
    RETURN CASE WHEN items <> '[]' THEN jsonb_build_array(jsonb_build_object('subtract', items)) END;
END $$;

-- Whether an operation may become a transform: increment, union, subtract, and what appends to an array.
CREATE FUNCTION draftline.is_transform(operation jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT operation ->> 'op' IN ('increment', 'union', 'subtract')
        OR (operation ->> 'op' IN ('add', 'copy') AND operation -> 'path' ->> -1 = '-')
$$;

-- One operation as an edit of the content before it; `after` is what it makes of that.
CREATE FUNCTION draftline.edit_of_operation(operation jsonb, before jsonb, after jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    op text := operation ->> 'op';
    path text[] := ARRAY(SELECT jsonb_array_elements_text(operation -> 'path'));
    value jsonb := operation -> 'value';
    edit jsonb;
    steps jsonb;
BEGIN
    IF op = 'test' THEN
        RETURN '{}';
    ELSIF op IN ('increment', 'union', 'subtract') AND draftline.is_member(before, path) THEN
        steps := draftline.steps_of(op, value, before #> path);
        RETURN CASE WHEN steps IS NULL THEN '{}' ELSE draftline.steps_at(path, steps) END;
    ELSIF draftline.is_transform(operation) AND op IN ('add', 'copy')
            AND draftline.is_member(before, trim_array(path, 1))
            AND jsonb_typeof(before #> trim_array(path, 1)) = 'array' THEN
        IF op = 'copy' THEN
            value := draftline.resolve(before, ARRAY(SELECT jsonb_array_elements_text(operation -> 'from')));
        END IF;
        RETURN draftline.steps_at(trim_array(path, 1),
            jsonb_build_array(jsonb_build_object('append', jsonb_build_array(value))));
    END IF;
    edit := draftline.edit_to(before, after, path);
    IF op = 'move' THEN
        edit := draftline.compose(edit, draftline.edit_to(before, after,
            ARRAY(SELECT jsonb_array_elements_text(operation -> 'from'))));
    END IF;
    RETURN edit;
END $$;

-- Operations as an edit. Transforms stay transforms; of everything else it is what they make, of a content, of the
-- paths that they touch.
CREATE OR REPLACE FUNCTION draftline.edit_of_operations(
    content jsonb, operations jsonb, max_bytes int, max_depth int) RETURNS draftline.edit_outcome
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    outcome draftline.edit_outcome := draftline.apply_operations(content, operations, max_bytes, max_depth);
    operation jsonb;
    before jsonb := content;
    after jsonb := outcome.content;
    is_stepwise boolean;
    edit jsonb := '{}';
BEGIN
    IF outcome.failure IS NOT NULL THEN
        RETURN outcome;
    END IF;
    is_stepwise := EXISTS (SELECT FROM jsonb_array_elements(operations) AS o WHERE draftline.is_transform(o));
    FOR operation IN SELECT o FROM jsonb_array_elements(operations) AS o LOOP
        IF is_stepwise THEN
            after := (draftline.apply_operation(before, operation)).document;
        END IF;
        edit := draftline.compose(edit, draftline.edit_of_operation(operation, before, after));
        IF is_stepwise THEN
            before := after;
        END IF;
    END LOOP;
    RETURN (edit, NULL)::draftline.edit_outcome;
END $$;
