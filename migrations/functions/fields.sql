-- Typed values of declared fields. Indexes use these functions: changing the meaning of one requires a new name and new
-- indexes.

-- Return the text at a path, of any length.
CREATE OR REPLACE FUNCTION draftline.text_at(content jsonb, path text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(content #> path) = 'string' THEN content #>> path END;

-- Return the text at the path of a declared field, for indexes and filters. Writes reject texts of more than 800 bytes.
-- A longer one, stored before the field was declared, is NULL here: it would not fit into an index, where a btree
-- allows 2,704 bytes a row, and its write would fail.
CREATE OR REPLACE FUNCTION draftline.indexed_text_at(content jsonb, path text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(content #> path) = 'string' AND octet_length(content #>> path) <= 800
            THEN content #>> path END;

-- Return the number at a path, exactly. One of more than 100 digits before or after the point counts as missing, so
-- that an index row has room for several.
CREATE OR REPLACE FUNCTION draftline.number_at(content jsonb, path text[]) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(content #> path) = 'number' AND abs((content #> path)::numeric) < 1e100
             AND scale((content #> path)::numeric) <= 100 THEN (content #> path)::numeric END;

-- Return the boolean at a path.
CREATE OR REPLACE FUNCTION draftline.boolean_at(content jsonb, path text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(content #> path) = 'boolean' THEN (content #> path)::boolean END;

-- Read a text as a date, `2026-11-20` or `Nov 20 2026`, of the years 1 to 9999. It is validated first, because a block
-- that catches errors costs a subtransaction, and a cast depends on DateStyle.
CREATE OR REPLACE FUNCTION draftline.read_date(value text) RETURNS date
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

-- Read a text as a time with an offset (RFC 3339), cut to microseconds. NULL for a leap second, 24:00:00, an offset of
-- a day or more, and times before the year 1 or after 9999 in UTC. Used by indexes of earlier versions; see
-- read_instant.
CREATE OR REPLACE FUNCTION draftline.read_timestamp(value text) RETURNS timestamptz
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

-- Return the date at a path.
CREATE OR REPLACE FUNCTION draftline.date_at(content jsonb, path text[]) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN draftline.read_date(draftline.text_at(content, path));

-- Return the time at a path; see read_timestamp.
CREATE OR REPLACE FUNCTION draftline.timestamp_at(content jsonb, path text[]) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN draftline.read_timestamp(draftline.text_at(content, path));

-- Read a text as a point in time (RFC 3339, with T, t or a space between date and time), cut to microseconds. A date is
-- its midnight in UTC. A leap second, allowed in the last minute of a month in UTC, is the second after it. NULL
-- without an offset, for an offset of a day or more, and before the year 1 or after 9999 in UTC. It has another name
-- than read_timestamp, which accepts less, because the meaning of an existing index must not change.
CREATE OR REPLACE FUNCTION draftline.read_instant(value text) RETURNS timestamptz
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

-- Return the point in time at a path; see read_instant.
CREATE OR REPLACE FUNCTION draftline.instant_at(content jsonb, path text[]) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN draftline.read_instant(draftline.text_at(content, path));

-- Return the value at a path of object keys. Unlike `#>`, it never enters an array.
CREATE OR REPLACE FUNCTION draftline.value_at(content jsonb, path text[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY path LOOP
        content := content -> name;
    END LOOP;
    RETURN content;
END $$;

-- Return whether a field of the type cannot hold a value. Null and missing values fit any type.
CREATE OR REPLACE FUNCTION draftline.is_mistyped(value jsonb, type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(jsonb_typeof(value), 'null') <> 'null' AND CASE type
    WHEN 'TEXT' THEN draftline.indexed_text_at(value, '{}') IS NULL
    WHEN 'NUMBER' THEN draftline.number_at(value, '{}') IS NULL
    WHEN 'BOOLEAN' THEN draftline.boolean_at(value, '{}') IS NULL
    WHEN 'DATE' THEN draftline.date_at(value, '{}') IS NULL
    WHEN 'TIMESTAMP' THEN draftline.instant_at(value, '{}') IS NULL
END;
