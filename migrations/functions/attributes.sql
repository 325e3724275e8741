-- Parent and position, in drafts and in the log.

-- Return the parent and the position that a write changes, each as [old, new], as the log stores them; NULL if neither
-- changes.
CREATE OR REPLACE FUNCTION draftline.attribute_changes(
    old_parent_id text, new_parent_id text, old_position bigint, new_position bigint) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT nullif(
        CASE WHEN old_parent_id IS DISTINCT FROM new_parent_id
             THEN jsonb_build_object('parent_id', jsonb_build_array(old_parent_id, new_parent_id)) ELSE '{}' END
        || CASE WHEN old_position IS DISTINCT FROM new_position
             THEN jsonb_build_object('position', jsonb_build_array(old_position, new_position)) ELSE '{}' END,
        '{}')
$$;

-- Return the parent and the position of a record as an object.
CREATE OR REPLACE FUNCTION draftline.own_attributes(parent_id text, "position" bigint) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('parent_id', parent_id, 'position', "position")
$$;

-- Return the parent of a record with a draft applied. It is inlined into the calling query, as is drafted_position.
CREATE OR REPLACE FUNCTION draftline.drafted_parent_id(attributes jsonb, parent_id text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN attributes #> '{parent_id,1}' IS NULL THEN parent_id ELSE attributes #>> '{parent_id,1}' END
$$;

-- Return the position of a record with a draft applied.
CREATE OR REPLACE FUNCTION draftline.drafted_position(attributes jsonb, "position" bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN attributes #> '{position,1}' IS NULL THEN "position"
                ELSE (attributes #>> '{position,1}')::bigint END
$$;

-- Return the attributes that a draft stores. `old`: those that it had; `sets`: those that the save sets; `theirs`:
-- those of the record. The base of an attribute is the record's value when it was first drafted, or at this save if the
-- save names a version of the record. An attribute that equals the record's is no longer drafted.
CREATE OR REPLACE FUNCTION draftline.draft_attributes(kind text, old jsonb, sets jsonb, theirs jsonb, is_rebased boolean)
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

-- Return the names of the attributes in which a draft differs from its record.
CREATE OR REPLACE FUNCTION draftline.modified_attributes(attributes jsonb, parent_id text, "position" bigint) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY(
        SELECT t.key FROM jsonb_each(draftline.own_attributes(parent_id, "position")) AS t
        WHERE attributes -> t.key -> 1 <> t.value ORDER BY t.key)
$$;

-- Return the conflicts of drafted attributes, each [base, mine] or [base], with the record's. A creation has no base:
-- every attribute that the record has set is in conflict with it.
CREATE OR REPLACE FUNCTION draftline.attribute_conflicts(kind text, attributes jsonb, theirs jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'kind', CASE kind WHEN 'CREATE' THEN 'CREATED' WHEN 'DELETE' THEN 'CHANGED' ELSE 'VALUE' END,
        'path', 'record.' || a.key, 'base', a.value -> 0, 'mine', a.value -> 1, 'theirs', theirs -> a.key
    )) ORDER BY a.key), '[]')
    FROM jsonb_each(attributes) AS a
    WHERE (kind = 'CREATE' OR theirs -> a.key <> a.value -> 0) AND theirs -> a.key IS DISTINCT FROM a.value -> 1
$$;

-- Return the conflicts of a draft with its record, attributes included. A creation is not in conflict with a deleted
-- record, because it brings that record back.
CREATE OR REPLACE FUNCTION draftline.draft_conflicts(kind text, edit jsonb, base jsonb, attributes jsonb, content jsonb,
    parent_id text, "position" bigint, is_deleted boolean) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN kind = 'CREATE' AND is_deleted THEN '[]'
        ELSE draftline.conflicts(kind, edit, base, content, is_deleted)
            || CASE WHEN attributes IS NULL OR content IS NULL OR is_deleted THEN '[]'
                    ELSE draftline.attribute_conflicts(kind, attributes,
                        draftline.own_attributes(parent_id, "position")) END
    END
$$;

-- Return whether a saved edit brings a deleted record back, as a creation. `kind`: that of the draft that the edit is
-- composed onto; NULL: there is none.
CREATE OR REPLACE FUNCTION draftline.revives(allow_deleted boolean, action text, is_deleted boolean, kind text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT allow_deleted AND is_deleted AND action <> 'DELETE' AND kind IS DISTINCT FROM 'CREATE'
        AND (action = 'CREATE' OR kind IS DISTINCT FROM 'DELETE')
$$;

-- Return the attributes that a log entry changed in the form of a draft that would revert it.
CREATE OR REPLACE FUNCTION draftline.attributes_back(attributes jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_object_agg(a.key, jsonb_build_array(a.value -> 1, a.value -> 0)) FROM jsonb_each(attributes) AS a
$$;

-- Return the attributes that were changed since a version of a record, each with its value at that version:
-- {"parent_id": [old]}.
CREATE OR REPLACE FUNCTION draftline.attributes_since(tenant text, of_collection text, of_record text, since bigint) RETURNS jsonb
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

-- Return whether a list of conflicts has one at a path.
CREATE OR REPLACE FUNCTION draftline.has_conflict(conflicts jsonb, path text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT conflicts @> jsonb_build_array(jsonb_build_object('path', path))
$$;
