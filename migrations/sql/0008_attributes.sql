-- Attributes are a record's parent_id and position. As JSON they are always told both, null for one that it has not:
-- {"parent_id": "a", "position": null}.
ALTER TABLE draftline.draft ADD COLUMN attributes jsonb;
COMMENT ON COLUMN draftline.draft.attributes
    IS 'the attributes that the draft sets, each with its base: {"parent_id": [base, mine]}; of a deletion the base alone: {"parent_id": [base]}; NULL: none';

CREATE FUNCTION draftline.own_attributes(parent_id text, "position" bigint) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('parent_id', parent_id, 'position', "position")
$$;

-- An attribute with a draft applied. They become part of the query that calls them.
CREATE FUNCTION draftline.drafted_parent_id(attributes jsonb, parent_id text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN attributes #> '{parent_id,1}' IS NULL THEN parent_id ELSE attributes #>> '{parent_id,1}' END
$$;

CREATE FUNCTION draftline.drafted_position(attributes jsonb, "position" bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN attributes #> '{position,1}' IS NULL THEN "position"
                ELSE (attributes #>> '{position,1}')::bigint END
$$;

-- The attributes that a draft keeps when it is saved: `old` are those that it had, `sets` those that the save sets,
-- `theirs` those of the record. An attribute has the base that it had when it was first drafted, unless the save
-- says which version of the record it was made for. One that is set to what the record has is drafted no more.
CREATE FUNCTION draftline.draft_attributes(kind text, old jsonb, sets jsonb, theirs jsonb, is_rebased boolean)
RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_object_agg(a.name,
        CASE WHEN a.mine IS NULL THEN jsonb_build_array(a.base) ELSE jsonb_build_array(a.base, a.mine) END)
    FROM (
        SELECT t.key AS name, t.value AS theirs,
            CASE WHEN is_rebased AND (kind = 'DELETE' OR sets ? t.key) THEN t.value
                 ELSE coalesce(old -> t.key -> 0, t.value) END AS base,
            CASE WHEN kind <> 'DELETE' THEN coalesce(sets -> t.key, old -> t.key -> 1) END AS mine
        FROM jsonb_each(theirs) AS t
    ) AS a
    WHERE kind = 'DELETE' OR (a.mine IS NOT NULL AND NOT (coalesce(sets ? a.name, false) AND a.mine = a.theirs))
$$;

-- The names of the attributes that a draft changes of those of the record.
CREATE FUNCTION draftline.modified_attributes(attributes jsonb, parent_id text, "position" bigint) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY(
        SELECT t.key FROM jsonb_each(draftline.own_attributes(parent_id, "position")) AS t
        WHERE attributes -> t.key -> 1 <> t.value ORDER BY t.key)
$$;

-- The conflicts of attributes, each [base, mine] or [base], with those of the record as it is. A creation is based on
-- no record: whatever differs from it is in conflict.
CREATE FUNCTION draftline.attribute_conflicts(kind text, attributes jsonb, theirs jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'kind', CASE kind WHEN 'CREATE' THEN 'CREATED' WHEN 'DELETE' THEN 'CHANGED' ELSE 'VALUE' END,
        'path', 'record.' || a.key, 'base', a.value -> 0, 'mine', a.value -> 1, 'theirs', theirs -> a.key
    )) ORDER BY a.key), '[]')
    FROM jsonb_each(attributes) AS a
    WHERE (kind = 'CREATE' OR theirs -> a.key <> a.value -> 0) AND theirs -> a.key IS DISTINCT FROM a.value -> 1
$$;

-- The conflicts of a draft with the record as it is, attributes included. A creation is in conflict with no record that
-- is deleted: it brings it back.
CREATE FUNCTION draftline.draft_conflicts(kind text, edit jsonb, base jsonb, attributes jsonb, content jsonb,
    parent_id text, "position" bigint, is_deleted boolean) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN kind = 'CREATE' AND is_deleted THEN '[]'
        ELSE draftline.conflicts(kind, edit, base, content, is_deleted)
            || CASE WHEN attributes IS NULL OR content IS NULL OR is_deleted THEN '[]'
                    ELSE draftline.attribute_conflicts(kind, attributes,
                        draftline.own_attributes(parent_id, "position")) END
    END
$$;

-- Whether a saved edit brings a deleted record back, which it does as a creation. `kind` is that of the draft which the
-- edit is composed onto; NULL: none.
CREATE FUNCTION draftline.revives(allow_deleted boolean, action text, is_deleted boolean, kind text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT allow_deleted AND is_deleted AND action <> 'DELETE' AND kind IS DISTINCT FROM 'CREATE'
        AND (action = 'CREATE' OR kind IS DISTINCT FROM 'DELETE')
$$;

-- The attributes that a change of the log set, as those of the draft which would take it back.
CREATE FUNCTION draftline.attributes_back(attributes jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_object_agg(a.key, jsonb_build_array(a.value -> 1, a.value -> 0)) FROM jsonb_each(attributes) AS a
$$;

-- The attributes that were set since a version of a record, each with what it was at that version: {"parent_id": [old]}.
CREATE FUNCTION draftline.attributes_since(tenant text, of_collection text, of_record text, since bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT jsonb_object_agg(f.name, jsonb_build_array(f.old))
        FROM (
            SELECT DISTINCT ON (a.key) a.key AS name, a.value -> 0 AS old
            FROM draftline.change AS c, jsonb_each(c.attributes) AS a
            WHERE c.tenant_id = tenant AND c.collection = of_collection AND c.record_id = of_record
              AND c.version > since AND c.kind <> 'DRAFT'
            ORDER BY a.key, c.version
        ) AS f
    );
END $$;

CREATE FUNCTION draftline.has_conflict(conflicts jsonb, path text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT conflicts @> jsonb_build_array(jsonb_build_object('path', path))
$$;

-- What a draft is based on once a user has saved a step of it who looked at the content: that, at the paths of the step.
-- `edited` is the draft with the step; where it holds more than the step edits, all of that is based on the content.
CREATE FUNCTION draftline.seen_basis(step jsonb, edited jsonb, basis jsonb, content jsonb) RETURNS jsonb
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
