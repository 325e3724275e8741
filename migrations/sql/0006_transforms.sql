-- Draft edits with transforms. A node has up to five members, each left out when it is empty:
--   {"s": {key: value}, "r": [key], "m": {key: node}, "t": {key: [step]}, "o": true}
-- s, r and m are as in 0002_drafts.sql. t applies steps to what is at a key; a key stands in one member only. The
-- steps of a key are either one {"increment": number}, or those of a list: at most one {"subtract": [value]}, then any
-- number of {"union": [value]} and {"append": [value]}, no two of a kind in a row.
--
-- Applied to something that is no object, a node makes an object only if it puts something into it (see puts), or if
-- it says so with o. Otherwise it leaves everything as it is: what it would remove is not there. Steps on a missing
-- value do what the operations do; on a value of another type they do what they do to 0 or to an empty list.
-- tests/store/test_draft_laws.py holds all of this equal to tests/support/edit_oracle.py.

CREATE FUNCTION draftline.node(sets jsonb, removals text[], merges jsonb, transforms jsonb, is_object boolean)
RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT draftline.node(sets, removals, merges)
        || CASE WHEN transforms <> '{}' THEN jsonb_build_object('t', transforms) ELSE '{}' END
        || CASE WHEN is_object THEN jsonb_build_object('o', true) ELSE '{}' END
$$;

-- Whether the steps make a value where there is none. A subtraction does not.
CREATE FUNCTION draftline.steps_put(steps jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT NOT (steps -> -1) ? 'subtract'
$$;

-- Whether a node makes an object where there is none.
CREATE FUNCTION draftline.puts(node jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN node ?| '{s,o}'
        OR (node ? 't' AND EXISTS (SELECT FROM jsonb_each(node -> 't') AS t WHERE draftline.steps_put(t.value)))
        OR (node ? 'm' AND EXISTS (SELECT FROM jsonb_each(node -> 'm') AS m WHERE draftline.puts(m.value)));
END $$;

-- Whether there is a transform in an edit.
CREATE FUNCTION draftline.has_transforms(edit jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN edit ? 't'
        OR (edit ? 'm' AND EXISTS (SELECT FROM jsonb_each(edit -> 'm') AS m WHERE draftline.has_transforms(m.value)));
END $$;

-- The value that steps make of a target; NULL is a value that is not there.
CREATE FUNCTION draftline.transform(steps jsonb, target jsonb) RETURNS jsonb
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

-- List steps in their one form: what is subtracted comes first and takes away from what was added before, and a
-- union holds nothing that an earlier step has added.
CREATE FUNCTION draftline.normal_steps(steps jsonb) RETURNS jsonb
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

-- Union and append steps with one more at their end.
CREATE FUNCTION draftline.with_items(added jsonb[], name text, items jsonb) RETURNS jsonb[]
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

-- Union and append steps without some values. They make a list where there is none, even if nothing is left.
CREATE FUNCTION draftline.without_items(added jsonb[], items jsonb) RETURNS jsonb[]
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

-- One action that does what the steps a and then the steps b do: {"t": steps}, or {"s": value} where a leaves nothing
-- that b could be applied to.
CREATE FUNCTION draftline.chain(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN (a -> 0) ? 'increment' AND (b -> 0) ? 'increment' THEN jsonb_build_object('t', jsonb_build_array(
            jsonb_build_object('increment', draftline.transform(b, a -> 0 -> 'increment'))))
        WHEN (a -> 0) ? 'increment' OR (b -> 0) ? 'increment'
            THEN jsonb_build_object('s', draftline.transform(b, draftline.transform(a, NULL)))
        ELSE jsonb_build_object('t', draftline.normal_steps(a || b))
    END
$$;
