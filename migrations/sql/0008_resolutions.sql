-- Conflicts that are decided one by one.

-- Whether an edit of a draft has a path of its own: a key that it sets, removes, transforms or merges into.
CREATE FUNCTION draftline.has_path(edit jsonb, path text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN edit IS NULL OR edit ? 'v' OR cardinality(path) = 0 THEN false
        WHEN cardinality(path) = 1 THEN EXISTS (SELECT 1 FROM jsonb_each(edit) AS member WHERE member.value ? path[1])
        ELSE draftline.has_path(edit -> 'm' -> path[1], path[2:])
    END
$$;

-- Whether an edit of the log changed what is at a path, below it or above it.
CREATE FUNCTION draftline.touches(edit jsonb, path text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN edit IS NULL THEN false
        WHEN edit ? 'v' OR cardinality(path) = 0 THEN edit <> '{}'
        ELSE coalesce(edit -> 's' ? path[1], false) OR coalesce(edit -> 'r' ? path[1], false)
            OR draftline.touches(edit -> 'm' -> path[1], path[2:])
    END
$$;

-- A merge with conflicts decided otherwise than in its own favour: [{"path": [tokens]}] puts back what the content holds
-- there, [{"path": [tokens], "value": v}] puts that value.
CREATE FUNCTION draftline.decided(merged jsonb, content jsonb, decisions jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    result jsonb := merged;
    decision jsonb;
    path text[];
BEGIN
    FOR decision IN SELECT jsonb_array_elements(decisions) LOOP
        path := ARRAY(SELECT jsonb_array_elements_text(decision -> 'path'));
        result := draftline.put_value(result, path,
            CASE WHEN decision ? 'value' THEN decision -> 'value' ELSE content #> path END);
    END LOOP;
    RETURN result;
END $$;

-- A content with the value at a path; NULL removes what is there. Objects are made on the way to a value, not to none.
CREATE FUNCTION draftline.put_value(content jsonb, path text[], value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN cardinality(path) = 0 THEN value
        WHEN jsonb_typeof(content) IS DISTINCT FROM 'object' AND value IS NULL THEN content
        WHEN cardinality(path) = 1 AND value IS NULL THEN content - path[1]
        WHEN cardinality(path) > 1 AND value IS NULL AND NOT content ? path[1] THEN content
        ELSE CASE WHEN jsonb_typeof(content) = 'object' THEN content ELSE '{}' END
            || jsonb_build_object(path[1], draftline.put_value(content -> path[1], path[2:], value))
    END
$$;

-- The attributes of a record with a draft applied: those decided, [base, mine] where the draft has them, else theirs.
-- `decisions`: {"parent_id": {}} leaves what the record has, {"parent_id": {"value": v}} puts that value.
CREATE FUNCTION draftline.decided_attributes(attributes jsonb, theirs jsonb, decisions jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_object_agg(t.key, CASE
        WHEN decisions ? t.key THEN coalesce(decisions -> t.key -> 'value', t.value)
        ELSE coalesce(attributes -> t.key -> 1, t.value) END)
    FROM jsonb_each(theirs) AS t
$$;
