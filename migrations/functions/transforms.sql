-- Transforms of drafts: increments, unions and subtractions that stay transforms until they are committed.

-- Return operations as an edit. Transforms stay transforms; all other operations become the values that they produce at
-- the paths that they touch.
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

-- Return whether steps create a missing value. A subtraction does not.
CREATE OR REPLACE FUNCTION draftline.steps_put(steps jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT NOT (steps -> -1) ? 'subtract'
$$;

-- Return whether a node creates a missing object.
CREATE OR REPLACE FUNCTION draftline.puts(node jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN node ?| '{s,o}'
        OR (node ? 't' AND EXISTS (SELECT FROM jsonb_each(node -> 't') AS t WHERE draftline.steps_put(t.value)))
        OR (node ? 'm' AND EXISTS (SELECT FROM jsonb_each(node -> 'm') AS m WHERE draftline.puts(m.value)));
END $$;

-- Return whether an edit has a transform.
CREATE OR REPLACE FUNCTION draftline.has_transforms(edit jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN edit ? 't'
        OR (edit ? 'm' AND EXISTS (SELECT FROM jsonb_each(edit -> 'm') AS m WHERE draftline.has_transforms(m.value)));
END $$;

-- Apply steps to a value; NULL is a missing value.
CREATE OR REPLACE FUNCTION draftline.transform(steps jsonb, target jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    step jsonb;
BEGIN
    FOR step IN SELECT s FROM jsonb_array_elements(steps) AS s LOOP
        IF step ? 'increment' THEN
            target := CASE WHEN jsonb_typeof(target) = 'number'
                THEN to_jsonb(target::numeric + (step -> 'increment')::numeric) ELSE step -> 'increment' END;
            CONTINUE;
        ELSIF jsonb_typeof(target) <> 'array' THEN
            target := '[]';
        END IF;
        target := CASE
            WHEN step ? 'union' THEN draftline.array_union(coalesce(target, '[]'), step -> 'union')
            WHEN step ? 'append' THEN coalesce(target, '[]') || (step -> 'append')
            WHEN target IS NOT NULL THEN draftline.array_subtract(target, step -> 'subtract')
        END;
    END LOOP;
    RETURN target;
END $$;

-- Return list steps in their normal form: subtractions come first, and remove what was added before; a union has no
-- item that an earlier step adds.
CREATE OR REPLACE FUNCTION draftline.normal_steps(steps jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    step jsonb;
    name text;
    items jsonb;
    subtracted jsonb := '[]';
    added jsonb[] := '{}';
BEGIN
    FOR step IN SELECT s FROM jsonb_array_elements(steps) AS s LOOP
        name := (SELECT jsonb_object_keys(step));
        items := step -> name;
        IF name = 'subtract' THEN
            subtracted := draftline.array_union(subtracted, items);
            added := draftline.without_items(added, items);
        ELSE
            added := draftline.with_items(added, name, items);
        END IF;
    END LOOP;
    RETURN CASE WHEN subtracted <> '[]' OR added = '{}'
            THEN jsonb_build_array(jsonb_build_object('subtract', subtracted)) ELSE '[]' END
        || to_jsonb(added);
END $$;

-- Return whether all tokens of a path except the last lead through objects.
CREATE OR REPLACE FUNCTION draftline.is_member(content jsonb, path text[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    FOR depth IN 0 .. cardinality(path) - 1 LOOP
        IF jsonb_typeof(content #> path[1:depth]) IS DISTINCT FROM 'object' THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN cardinality(path) > 0;
END $$;

-- Return the edit that applies steps to the value at a path.
CREATE OR REPLACE FUNCTION draftline.steps_at(path text[], steps jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN cardinality(path) = 1 THEN jsonb_build_object('t', jsonb_build_object(path[1], steps))
        ELSE jsonb_build_object('m', jsonb_build_object(path[1], draftline.steps_at(path[2:], steps))) END
$$;

-- Return an operation as the steps that it takes on a value, without items that are there, or missing, already. NULL:
-- none.
CREATE OR REPLACE FUNCTION draftline.steps_of(op text, value jsonb, target jsonb) RETURNS jsonb
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

-- Return whether an operation may become a transform: increment, union, subtract, and add at the end of an array.
CREATE OR REPLACE FUNCTION draftline.is_transform(operation jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT operation ->> 'op' IN ('increment', 'union', 'subtract')
        OR (operation ->> 'op' IN ('add', 'copy') AND operation -> 'path' ->> -1 IS NOT DISTINCT FROM '-')
$$;

-- Return one operation as an edit of the content before it. `after`: the content after the operation.
CREATE OR REPLACE FUNCTION draftline.edit_of_operation(operation jsonb, before jsonb, after jsonb) RETURNS jsonb
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

-- Return the steps of an edit that changed one content into another, as a node of the members t and m; NULL if there
-- are none.
CREATE OR REPLACE FUNCTION draftline.steps_done(edit jsonb, old jsonb, new jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    steps jsonb;
    merges jsonb;
BEGIN
    IF NOT draftline.has_transforms(edit) THEN
        RETURN NULL;
    END IF;
    steps := (SELECT jsonb_object_agg(t.key, t.value) FROM jsonb_each(edit -> 't') AS t
              WHERE draftline.transform(t.value, old -> t.key) IS NOT DISTINCT FROM new -> t.key);
    merges := (SELECT jsonb_object_agg(m.key, m.done)
               FROM (SELECT m.key, draftline.steps_done(m.value, old -> m.key, new -> m.key) AS done
                     FROM jsonb_each(edit -> 'm') AS m OFFSET 0) AS m
               WHERE m.done IS NOT NULL);
    RETURN nullif(draftline.node('{}', '{}', coalesce(merges, '{}'), coalesce(steps, '{}'), false), '{}');
END $$;

-- Return the same for operations. Limits were checked when the operations were applied.
CREATE OR REPLACE FUNCTION draftline.steps_done_by(operations jsonb, old jsonb, new jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM jsonb_array_elements(operations) AS o WHERE draftline.is_transform(o))
        THEN draftline.steps_done((draftline.edit_of_operations(old, operations, 268435456, 10000)).content, old, new)
    END
$$;

-- Return whether the steps of two edits of one value are independent: both can be applied, and neither removes what the
-- other adds.
CREATE OR REPLACE FUNCTION draftline.commute(one jsonb, other jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (one -> 0) ? 'increment' = (other -> 0) ? 'increment' AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(one) AS a, jsonb_array_elements(other) AS b,
            LATERAL (VALUES (a -> 'subtract', coalesce(b -> 'union', b -> 'append')),
                (b -> 'subtract', coalesce(a -> 'union', a -> 'append'))) AS p (subtracted, added),
            LATERAL jsonb_array_elements(p.subtracted) AS s, LATERAL jsonb_array_elements(p.added) AS i
        WHERE s = i)
$$;

-- Return a base after others have applied steps to its values. It follows steps that are independent of the edit's own
-- steps; after any other change the value differs from its base, which is a conflict.
CREATE OR REPLACE FUNCTION draftline.follow(base jsonb, edit jsonb, done jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    followed jsonb := base;
    child record;
    value jsonb;
BEGIN
    IF done IS NULL THEN
        RETURN base;
    END IF;
    FOR child IN SELECT key, t.value AS steps FROM jsonb_each(done -> 't') AS t WHERE edit -> 't' ? key LOOP
        value := draftline.transform(child.steps, base -> 's' -> child.key);
        IF value IS NOT NULL AND draftline.commute(edit -> 't' -> child.key, child.steps) THEN
            followed := draftline.with_key(followed, child.key, 's', value) - 'n';
        END IF;
    END LOOP;
    FOR child IN SELECT key, m.value AS done FROM jsonb_each(done -> 'm') AS m WHERE edit -> 'm' ? key LOOP
        followed := jsonb_set(followed, ARRAY['m', child.key],
            draftline.follow(followed -> 'm' -> child.key, edit -> 'm' -> child.key, child.done));
    END LOOP;
    RETURN followed;
END $$;
