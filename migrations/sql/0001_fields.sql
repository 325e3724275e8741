-- Typed fields: what filters compare, orders sort by and indexes hold. Each function yields
-- NULL for a value that is missing, null or of another type, and never raises, whatever was
-- stored. The one-line ones are inlined, so an index on such a call serves a filter on it.
-- tests/store/test_filters.py holds them equal to tests/support/filter_oracle.py.

-- The text at a path, of any length.
CREATE FUNCTION draftline.text_at(content jsonb, path text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(content #> path) = 'string' THEN content #>> path END;

-- The text at the path of a declared field, for indexes and for filters on declared fields.
-- Writes refuse texts over 800 bytes there. Where one is stored all the same, in a collection
-- that did not declare the field, it is NULL here, for it could not go into an index
-- (a btree takes rows of up to 2,704 bytes) and would make its write fail.
CREATE FUNCTION draftline.indexed_text_at(content jsonb, path text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(content #> path) = 'string' AND octet_length(content #>> path) <= 800
            THEN content #>> path END;

-- The number at a path, exact. One of more than 100 digits before or after the point counts as
-- missing, so that a row of an index has room for several.
CREATE FUNCTION draftline.number_at(content jsonb, path text[]) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(content #> path) = 'number' AND abs((content #> path)::numeric) < 1e100
             AND scale((content #> path)::numeric) <= 100 THEN (content #> path)::numeric END;

-- The boolean at a path.
CREATE FUNCTION draftline.boolean_at(content jsonb, path text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(content #> path) = 'boolean' THEN (content #> path)::boolean END;

-- A text read as a date: `2026-11-20` or `Nov 20 2026`, years 1 to 9999. Checked before it is
-- made, because a block that catches errors costs a subtransaction; a cast depends on DateStyle.
CREATE FUNCTION draftline.read_date(value text) RETURNS date
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    year int;
    month int;
    day int;
    last_day int;
BEGIN
    IF value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' COLLATE "C" THEN
        year := substr(value, 1, 4);
        month := substr(value, 6, 2);
        day := substr(value, 9, 2);
    ELSIF value ~ '^[A-Z][a-z]{2} [0-9]{2} [0-9]{4}$' COLLATE "C" THEN
        year := substr(value, 8, 4);
        month := array_position('{Jan,Feb,Mar,Apr,May,Jun,Jul,Aug,Sep,Oct,Nov,Dec}', substr(value, 1, 3));
        day := substr(value, 5, 2);
    END IF;
    IF year >= 1 AND month BETWEEN 1 AND 12 AND day >= 1 THEN
        last_day := CASE
            WHEN month IN (4, 6, 9, 11) THEN 30
            WHEN month <> 2 THEN 31
            WHEN year % 4 = 0 AND (year % 100 <> 0 OR year % 400 = 0) THEN 29
            ELSE 28
        END;
    END IF;
    RETURN CASE WHEN day <= last_day THEN make_date(year, month, day) END;
END $$;

-- A text read as a time with its offset (RFC 3339), cut to microseconds. Not a leap second, not
-- `24:00:00`, no offset of a day or more, nothing before year 1 or after 9999 in UTC.
CREATE FUNCTION draftline.read_timestamp(value text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    -- Counted from the end: Z is one character, +01:00 six.
    zone text := CASE WHEN value ~ '[Zz]$' COLLATE "C" THEN '' ELSE right(value, 6) END;
    direction int := CASE left(zone, 1) WHEN '-' THEN 1 ELSE -1 END;
    day date;
    moment timestamp;
BEGIN
    IF value !~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?'
        '([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$' COLLATE "C") THEN
        RETURN NULL;
    END IF;
    day := draftline.read_date(left(value, 10));
    IF day IS NULL THEN
        RETURN NULL;
    END IF;
    moment := day + make_time(substr(value, 12, 2)::int, substr(value, 15, 2)::int,
        left(left(substr(value, 18), -greatest(length(zone), 1)), 9)::double precision);
    IF zone <> '' THEN
        moment := moment + direction * make_interval(hours => substr(zone, 2, 2)::int, mins => right(zone, 2)::int);
        IF moment < make_timestamp(1, 1, 1, 0, 0, 0) OR moment >= make_timestamp(10000, 1, 1, 0, 0, 0) THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN moment AT TIME ZONE 'UTC';
END $$;

-- The date at a path.
CREATE FUNCTION draftline.date_at(content jsonb, path text[]) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN draftline.read_date(draftline.text_at(content, path));

-- The point in time at a path.
CREATE FUNCTION draftline.timestamp_at(content jsonb, path text[]) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN draftline.read_timestamp(draftline.text_at(content, path));

-- Whether something other than null is at a path.
CREATE FUNCTION draftline.present_at(content jsonb, path text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_typeof(content #> path) <> 'null';

-- Whether an array that has the scalar as an element, an object that has the key, or the scalar
-- itself is at a path.
CREATE FUNCTION draftline.has_at(content jsonb, path text[], scalar jsonb, key text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE jsonb_typeof(content #> path) WHEN 'object' THEN (content #> path) ? key
                                          ELSE (content #> path) @> scalar END;

-- How the value at a condition's path stands to the condition's value: below zero, zero or above;
-- NULL if it is not of the condition's type. By the comparison functions of the btree operator
-- classes, which is to say in the order of the indexes.
CREATE FUNCTION draftline.compare_at(content jsonb, path text[], condition jsonb) RETURNS int
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    CASE condition ->> 'type'
        WHEN 'TEXT' THEN
            RETURN bttextcmp(draftline.text_at(content, path), condition ->> 'value' COLLATE "C");
        WHEN 'NUMBER' THEN
            RETURN numeric_cmp(draftline.number_at(content, path), (condition ->> 'value')::numeric);
        WHEN 'BOOLEAN' THEN
            RETURN btboolcmp(draftline.boolean_at(content, path), (condition ->> 'value')::boolean);
        WHEN 'DATE' THEN
            RETURN date_cmp(draftline.date_at(content, path), draftline.read_date(condition ->> 'value'));
        WHEN 'TIMESTAMP' THEN
            RETURN timestamptz_cmp(draftline.timestamp_at(content, path),
                                   draftline.read_timestamp(condition ->> 'value'));
    END CASE;
END $$;

-- One condition of a filter, on the document it is about: the content or the attributes.
CREATE FUNCTION draftline.matches_condition(content jsonb, condition jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    path text[] := condition ->> 'path';
BEGIN
    CASE condition ->> 'op'
        WHEN '=' THEN RETURN draftline.compare_at(content, path, condition) = 0;
        WHEN '<' THEN RETURN draftline.compare_at(content, path, condition) < 0;
        WHEN '<=' THEN RETURN draftline.compare_at(content, path, condition) <= 0;
        WHEN '>' THEN RETURN draftline.compare_at(content, path, condition) > 0;
        WHEN '>=' THEN RETURN draftline.compare_at(content, path, condition) >= 0;
        WHEN 'prefix' THEN RETURN starts_with(draftline.text_at(content, path), condition ->> 'value');
        WHEN 'present' THEN RETURN draftline.present_at(content, path);
        WHEN 'has' THEN
            RETURN draftline.has_at(content, path,
                CASE condition ->> 'type' WHEN 'TEXT' THEN condition -> 'value'
                                          ELSE (condition ->> 'value')::jsonb END,
                condition ->> 'key');
    END CASE;  -- anything else raises: a condition that is not understood is not met
END $$;

-- Whether a record satisfies a filter, true or false and never NULL; no filter is satisfied.
-- attributes: the record's own, {"version": 7, "update_time": "2026-11-20T10:00:00+00:00", ...};
-- condition: what draftline_server.domain.filters.ast.to_json makes.
CREATE FUNCTION draftline.matches(attributes jsonb, content jsonb, condition jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    op text := condition ->> 'op';
BEGIN
    IF condition IS NULL THEN
        RETURN true;
    END IF;
    IF op = 'not' THEN
        RETURN NOT draftline.matches(attributes, content, condition -> 'term');
    END IF;
    IF op NOT IN ('and', 'or') THEN
        RETURN coalesce(draftline.matches_condition(
            CASE condition ->> 'in' WHEN 'record' THEN attributes ELSE content END, condition), false);
    END IF;
    FOR place IN 0 .. jsonb_array_length(condition -> 'terms') - 1 LOOP
        IF draftline.matches(attributes, content, condition -> 'terms' -> place) = (op = 'or') THEN
            RETURN op = 'or';
        END IF;
    END LOOP;
    RETURN op = 'and';
END $$;
