-- Filters that follow AIP-160 into arrays, match parts of texts and texts in any case; every time of RFC 3339; and
-- declared fields that refuse what they cannot hold.

-- A text read as a point in time (RFC 3339, with T, t or a space between date and time), cut to microseconds; a date is
-- its midnight in UTC. A leap second, which only the last minute of a month in UTC may have, is the second after it.
-- NULL without an offset, for an offset of a day or more, and before year 1 or after 9999 in UTC.
-- Of another name than read_timestamp, which knows less: what an index was made with must go on to mean the same.
CREATE FUNCTION draftline.read_instant(value text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    day date;
    zone text;
    seconds text;
    is_leap boolean;
    moment timestamp;
BEGIN
    IF length(value) <= 11 THEN
        RETURN draftline.read_date(value)::timestamp AT TIME ZONE 'UTC';
    ELSIF value !~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?'
            '([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$' COLLATE "C") THEN
        RETURN NULL;
    END IF;
    day := draftline.read_date(left(value, 10));
    -- Counted from the end: Z is one character, +01:00 six.
    zone := CASE WHEN right(value, 1) IN ('Z', 'z') THEN '' ELSE right(value, 6) END;
    seconds := left(left(substr(value, 18), -greatest(length(zone), 1)), 9);
    is_leap := left(seconds, 2) = '60';
    IF is_leap THEN
        seconds := '59' || substr(seconds, 3);
    END IF;
    moment := day + make_time(substr(value, 12, 2)::int, substr(value, 15, 2)::int, seconds::double precision);
    IF zone <> '' THEN
        moment := moment + CASE left(zone, 1) WHEN '-' THEN 1 ELSE -1 END
            * make_interval(hours => substr(zone, 2, 2)::int, mins => right(zone, 2)::int);
    END IF;
    IF is_leap THEN
        moment := moment + interval '1 second';
        IF date_trunc('minute', moment) <> date_trunc('month', moment) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF moment >= timestamp '0001-01-01' AND moment < timestamp '10000-01-01' THEN
        RETURN moment AT TIME ZONE 'UTC';
    END IF;
    RETURN NULL;
END $$;

-- The point in time at a path.
CREATE FUNCTION draftline.instant_at(content jsonb, path text[]) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN draftline.read_instant(draftline.text_at(content, path));

-- The value at a path of object keys. `#>` takes an array's elements by their places as well.
CREATE FUNCTION draftline.value_at(content jsonb, path text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY path LOOP
        content := content -> name;
    END LOOP;
    RETURN content;
END $$;

-- Whether a value is one that a field of the type cannot hold: neither null nor missing, nor of the type.
CREATE FUNCTION draftline.is_mistyped(value jsonb, type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(jsonb_typeof(value), 'null') <> 'null' AND CASE type
    WHEN 'TEXT' THEN draftline.indexed_text_at(value, '{}') IS NULL
    WHEN 'NUMBER' THEN draftline.number_at(value, '{}') IS NULL
    WHEN 'BOOLEAN' THEN draftline.boolean_at(value, '{}') IS NULL
    WHEN 'DATE' THEN draftline.date_at(value, '{}') IS NULL
    WHEN 'TIMESTAMP' THEN draftline.instant_at(value, '{}') IS NULL
END;

-- Whether an object that has the key is at a path.
CREATE FUNCTION draftline.has_key_at(content jsonb, path text[], key text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_typeof(content #> path) = 'object' AND (content #> path) ? key;

-- How a value stands to a condition's value: below zero, zero or above; NULL if it is not of the condition's type. By
-- the comparison functions of the btree operator classes, which is to say in the order of the indexes.
CREATE FUNCTION draftline.compare_value(value jsonb, condition jsonb) RETURNS int
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    CASE condition ->> 'type'
        WHEN 'TEXT' THEN
            IF condition ? 'lower' THEN
                RETURN bttextcmp(draftline.lower_text(draftline.text_at(value, '{}')),
                                 draftline.lower_text(condition ->> 'value') COLLATE "C");
            END IF;
            RETURN bttextcmp(draftline.text_at(value, '{}'), condition ->> 'value' COLLATE "C");
        WHEN 'NUMBER' THEN
            RETURN numeric_cmp(draftline.number_at(value, '{}'), (condition ->> 'value')::numeric);
        WHEN 'BOOLEAN' THEN
            RETURN btboolcmp(draftline.boolean_at(value, '{}'), (condition ->> 'value')::boolean);
        WHEN 'DATE' THEN
            RETURN date_cmp(draftline.date_at(value, '{}'), draftline.read_date(condition ->> 'value'));
        WHEN 'TIMESTAMP' THEN
            RETURN timestamptz_cmp(draftline.instant_at(value, '{}'), draftline.read_instant(condition ->> 'value'));
    END CASE;
END $$;

-- One condition of a filter, on the document it is about: the content, the attributes, or a value that another
-- condition found.
CREATE OR REPLACE FUNCTION draftline.matches_condition(content jsonb, condition jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    op text := condition ->> 'op';
    value jsonb;
BEGIN
    IF op = 'any' THEN  -- of the values at a path on which an array stands for each of its elements
        RETURN EXISTS (SELECT FROM jsonb_path_query(content, (condition ->> 'through')::jsonpath) AS v (value)
                       WHERE draftline.matches_condition(v.value, condition -> 'term'));
    ELSIF op = 'mistyped' THEN
        RETURN EXISTS (SELECT FROM jsonb_array_elements(condition -> 'fields') AS f (field)
                       WHERE draftline.is_mistyped(draftline.value_at(content, (f.field ->> 'path')::text[]),
                                                   f.field ->> 'type'));
    END IF;
    value := draftline.value_at(content, (condition ->> 'path')::text[]);
    CASE op
        WHEN '=' THEN RETURN draftline.compare_value(value, condition) = 0;
        WHEN '<' THEN RETURN draftline.compare_value(value, condition) < 0;
        WHEN '<=' THEN RETURN draftline.compare_value(value, condition) <= 0;
        WHEN '>' THEN RETURN draftline.compare_value(value, condition) > 0;
        WHEN '>=' THEN RETURN draftline.compare_value(value, condition) >= 0;
        WHEN 'prefix' THEN RETURN starts_with(draftline.text_at(value, '{}'), condition ->> 'value');
        WHEN 'like' THEN
            IF condition ? 'lower' THEN
                RETURN draftline.lower_text(draftline.text_at(value, '{}')) COLLATE "C"
                    LIKE draftline.lower_text(condition ->> 'value');
            END IF;
            RETURN draftline.text_at(value, '{}') COLLATE "C" LIKE condition ->> 'value';
        WHEN 'present' THEN RETURN draftline.present_at(value, '{}');
        WHEN 'has_key' THEN RETURN draftline.has_key_at(value, '{}', condition ->> 'key');
        -- As the version before wrote it, which may still be serving.
        WHEN 'has' THEN
            RETURN draftline.has_at(value, '{}',
                CASE condition ->> 'type' WHEN 'TEXT' THEN condition -> 'value'
                                          ELSE (condition ->> 'value')::jsonb END,
                condition ->> 'key');
    END CASE;  -- anything else raises: a condition that is not understood is not met
END $$;

-- The first of a content's declared fields that it may not be stored with, as the failure; NULL if there is none.
-- checked: of fields that refuse what they cannot hold {"path": [tokens], "type": "DATE"}, of TEXT fields [tokens].
CREATE FUNCTION draftline.field_failure(content jsonb, checked jsonb, max_text_bytes int) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    field jsonb;
    path jsonb;
    value jsonb;
BEGIN
    FOR place IN 0 .. jsonb_array_length(checked) - 1 LOOP
        field := checked -> place;
        path := CASE jsonb_typeof(field) WHEN 'object' THEN field -> 'path' ELSE field END;
        value := content;
        FOR depth IN 0 .. jsonb_array_length(path) - 1 LOOP
            value := value -> (path ->> depth);
        END LOOP;
        CONTINUE WHEN value IS NULL;
        IF coalesce(field ->> 'type', 'TEXT') = 'TEXT' AND jsonb_typeof(value) = 'string'
                AND octet_length(value #>> '{}') > max_text_bytes THEN
            RETURN jsonb_build_object('reason', 'INDEXED_TEXT_TOO_LONG', 'limit', max_text_bytes,
                'path', draftline.pointer(ARRAY(SELECT jsonb_array_elements_text(path))));
        ELSIF jsonb_typeof(field) = 'object' AND draftline.is_mistyped(value, field ->> 'type') THEN
            RETURN jsonb_build_object('reason', 'TYPE_MISMATCH', 'type', field ->> 'type', 'kind', jsonb_typeof(value),
                'path', draftline.pointer(ARRAY(SELECT jsonb_array_elements_text(path))));
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
BEGIN
    IF bytes > max_bytes THEN
        RETURN draftline.too_large('size', max_bytes);
    ELSIF max_depth IS NOT NULL AND draftline.is_deeper(content, max_depth) THEN
        RETURN draftline.too_large('depth', max_depth);
    -- Fields that refuse come first: without one, only a content of some size can hold a text that is too long.
    ELSIF indexed_text <> '[]' AND (bytes > max_text_bytes OR jsonb_typeof(indexed_text -> 0) = 'object') THEN
        RETURN draftline.field_failure(content, indexed_text, max_text_bytes);
    END IF;
    RETURN NULL;
END $$;

COMMENT ON COLUMN draftline.collection.fields
    IS '[{"path": [tokens], "type": "TEXT"}], with "on_type_mismatch": "REFUSE" where that was declared';
COMMENT ON COLUMN draftline.collection.indexed_text
    IS 'what writes are checked for: {"path": [tokens], "type": "DATE"} of fields that refuse, [tokens] of TEXT fields';
