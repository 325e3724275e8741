-- The merge of a record with the record of its system of record (see docs/sync.md). `base`: what the upstream was last
-- known to hold; `mine`: the content here; `theirs`: what the upstream holds now. All three contain mapped fields only.
-- NULL is an absent value. Objects are merged key by key, and all other values as a whole.

-- Return the policy for a conflict at a path: that of the longest rule that covers it, or else the default. A rule is
-- {"path": [names], "policy": text}; it covers its path and all below, and `*` covers any name unless the rule is `exact`.
-- If rules below the path differ from that policy, it is HOLD, because the conflict cannot be divided.
CREATE OR REPLACE FUNCTION draftline.sync_policy(at text[], policies jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    chosen text := coalesce(policies ->> 'default', 'HOLD');
    chosen_length int := -1;
    rule jsonb;
    path text[];
    common int;
    below text[] := '{}';
BEGIN
    FOR rule IN SELECT r FROM jsonb_array_elements(coalesce(policies -> 'rules', '[]')) AS r LOOP
        path := ARRAY(SELECT jsonb_array_elements_text(rule -> 'path'));
        common := least(cardinality(path), cardinality(at));
        CONTINUE WHEN EXISTS (
            SELECT FROM generate_series(1, common) AS i
            WHERE path[i] <> at[i] AND (path[i] <> '*' OR rule -> 'exact' = 'true'));
        IF cardinality(path) > cardinality(at) THEN
            below := below || (rule ->> 'policy');
        ELSIF cardinality(path) > chosen_length THEN
            chosen := rule ->> 'policy';
            chosen_length := cardinality(path);
        END IF;
    END LOOP;
    RETURN CASE WHEN EXISTS (SELECT FROM unnest(below) AS b WHERE b <> chosen) THEN 'HOLD' ELSE chosen END;
END $$;

-- Return a conflict, as draftline.conflict does, with its path as an array `at` as well.
CREATE OR REPLACE FUNCTION draftline.sync_conflict(kind text, at text[], base jsonb, mine jsonb, theirs jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT draftline.conflict(kind, at, base, mine, theirs) || jsonb_build_object('at', to_jsonb(at))
$$;

-- Merge three values at a path. Return the merged value, the new base, the conflicts that are held, and those that the
-- policy UPSTREAM_WINS has decided against the value here. The base stays where a conflict is held, so the next merge
-- judges it again.
CREATE OR REPLACE FUNCTION draftline.sync_merge(base jsonb, mine jsonb, theirs jsonb, policies jsonb, at text[])
RETURNS draftline.sync_merged
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    result draftline.sync_merged := (NULL, NULL, '[]', '[]');
    child draftline.sync_merged;
    name text;
BEGIN
    IF mine IS NOT DISTINCT FROM theirs THEN
        RETURN (mine, theirs, '[]', '[]')::draftline.sync_merged;
    ELSIF theirs IS NOT DISTINCT FROM base THEN
        RETURN (mine, base, '[]', '[]')::draftline.sync_merged;
    ELSIF mine IS NOT DISTINCT FROM base THEN
        RETURN (theirs, theirs, '[]', '[]')::draftline.sync_merged;
    ELSIF jsonb_typeof(mine) = 'object' AND jsonb_typeof(theirs) = 'object'
            AND coalesce(jsonb_typeof(base), 'object') = 'object' THEN
        result.value := '{}';
        result.base := '{}';
        FOR name IN
            SELECT k FROM jsonb_object_keys(coalesce(base, '{}') || mine || theirs) AS k ORDER BY k COLLATE "C"
        LOOP
            child := draftline.sync_merge(base -> name, mine -> name, theirs -> name, policies, at || name);
            IF child.value IS NOT NULL THEN
                result.value := result.value || jsonb_build_object(name, child.value);
            END IF;
            IF child.base IS NOT NULL THEN
                result.base := result.base || jsonb_build_object(name, child.base);
            END IF;
            result.conflicts := result.conflicts || child.conflicts;
            result.overruled := result.overruled || child.overruled;
        END LOOP;
        RETURN result;
    END IF;
    RETURN CASE draftline.sync_policy(at, policies)
        WHEN 'UPSTREAM_WINS' THEN (theirs, theirs, '[]',
            jsonb_build_array(draftline.sync_conflict('VALUE', at, base, mine, theirs)))::draftline.sync_merged
        WHEN 'LOCAL_WINS' THEN (mine, theirs, '[]', '[]')::draftline.sync_merged
        ELSE (mine, base, jsonb_build_array(draftline.sync_conflict('VALUE', at, base, mine, theirs)),
            '[]')::draftline.sync_merged
    END;
END $$;

-- Return the mapped fields of a content. `fields`: [{"path": [names], "direction": "BOTH"}]; NULL: the whole content.
CREATE OR REPLACE FUNCTION draftline.sync_mapped(content jsonb, fields jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF fields IS NULL OR content IS NULL THEN
        RETURN content;
    END IF;
    RETURN draftline.sync_take('{}', content, fields, NULL);
END $$;

-- Return a document with the values of another one at the mapped fields of a direction (NULL: of all). A field that is
-- absent there is removed. NULL if a field lies below a value of the document that is not an object.
CREATE OR REPLACE FUNCTION draftline.sync_take(document jsonb, source jsonb, fields jsonb, of_direction text)
RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    result jsonb := document;
    field jsonb;
    path text[];
    value jsonb;
BEGIN
    FOR field IN SELECT f FROM jsonb_array_elements(fields) AS f
        WHERE of_direction IS NULL OR f ->> 'direction' = of_direction
    LOOP
        path := ARRAY(SELECT jsonb_array_elements_text(field -> 'path'));
        value := draftline.member_at(source, path);
        IF value IS NOT NULL AND EXISTS (
            SELECT FROM generate_series(1, cardinality(path) - 1) AS i
            WHERE coalesce(jsonb_typeof(draftline.member_at(result, path[1:i])), 'object') <> 'object') THEN
            RETURN NULL;
        END IF;
        result := draftline.put_value(result, path, value);
    END LOOP;
    RETURN result;
END $$;

-- Return what a push would leave upstream: the values here, except at fields that are only pulled.
CREATE OR REPLACE FUNCTION draftline.sync_outgoing(mine jsonb, base jsonb, fields jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN fields IS NULL OR NOT fields @> '[{"direction": "PULL"}]' THEN mine
        ELSE draftline.sync_take(mine, coalesce(base, '{}'), fields, 'PULL') END
$$;

-- Return what the upstream holds for a merge: what it answered, with the base at fields that are only pushed, because it
-- does not answer them.
CREATE OR REPLACE FUNCTION draftline.sync_incoming(theirs jsonb, base jsonb, fields jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN fields IS NULL OR NOT fields @> '[{"direction": "PUSH"}]' THEN theirs
        ELSE draftline.sync_take(theirs, coalesce(base, '{}'), fields, 'PUSH') END
$$;

-- Return whether the upstream holds everything that an attempt has sent: the changes from `base` to `sent`.
CREATE OR REPLACE FUNCTION draftline.sync_is_applied(base jsonb, sent jsonb, theirs jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT draftline.apply_edit((draftline.difference(coalesce(base, '{}'), sent)).edit, theirs) = theirs
$$;

-- Return a document with the values of conflicts at their paths: those of one side, `mine`, `theirs` or `value`.
CREATE OR REPLACE FUNCTION draftline.sync_put_side(document jsonb, conflicts jsonb, side text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    result jsonb := document;
    conflict jsonb;
BEGIN
    FOR conflict IN SELECT c FROM jsonb_array_elements(conflicts) AS c LOOP
        result := draftline.put_value(result, ARRAY(SELECT jsonb_array_elements_text(conflict -> 'at')), conflict -> side);
    END LOOP;
    RETURN result;
END $$;

-- Return whether a version is before another one, of an upstream whose versions are ordered: whole numbers by their value,
-- others as texts. NULL if one is not known.
CREATE OR REPLACE FUNCTION draftline.sync_is_older(version text, than text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN version ~ '^[0-9]{1,100}$' AND than ~ '^[0-9]{1,100}$' THEN version::numeric < than::numeric
        ELSE version < than COLLATE "C" END
$$;
