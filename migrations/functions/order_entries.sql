-- The entries of orders: keys that sort by bytes.

-- Return the sort key of a content: bytes that sort like the values at the keys, which are those of
-- draftline.collection_order. The values are those that filters compare (indexed_text_at, number_at, boolean_at, date_at,
-- instant_at). No value is a prefix of another one, so the first fields of an order are a prefix of its keys. In hex:
--   null, missing or of another type: ff, in both directions
--   TEXT: 10, UTF-8, 00 (no text has a NUL)
--   NUMBER: 1, then one digit for the sign (6 negative, 8 zero, 9 positive), two for the decimal exponent plus 128, then
--     the significant digits, each plus one, and one or two zeros that end them and fill the last byte
--   BOOLEAN: 16 false, 19 true
--   DATE, TIMESTAMP: the binary form of PostgreSQL, days or microseconds since 2000, with 1 (before) or 2 for the first
--     digit, which is its sign
-- Descending, and for negative numbers, all digits but a leading 1 are inverted (0 to f, 1 to e and so on).
-- draftline_server.store.lists.order_keys encodes values in the same way.
CREATE OR REPLACE FUNCTION draftline.order_key(content jsonb, keys jsonb) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    digits CONSTANT text := '0123456789abcdef';
    inverted CONSTANT text := 'fedcba9876543210';
    key jsonb;
    path jsonb;
    value jsonb;
    number numeric;
    is_inverted boolean;
    is_signed boolean;
    significant text;
    part text;
    hex text := '';
BEGIN
    FOR index IN 0 .. jsonb_array_length(keys) - 1 LOOP
        key := keys -> index;
        path := key -> 'path';
        value := content -> (path ->> 0);
        FOR depth IN 1 .. jsonb_array_length(path) - 1 LOOP
            value := value -> (path ->> depth);
        END LOOP;
        is_inverted := coalesce((key -> 'descending')::boolean, false);
        is_signed := false;
        CASE key ->> 'type'
        WHEN 'TEXT' THEN
            part := '0' || encode(convert_to(draftline.indexed_text_at(value, '{}'), 'UTF8'), 'hex') || '00';
            IF is_inverted THEN
                part := '0' || translate(substr(part, 2), digits, inverted);
            END IF;
            is_inverted := false;
        WHEN 'NUMBER' THEN
            number := draftline.number_at(value, '{}');
            IF number = 0 THEN
                part := '8';
            ELSE
                part := trim_scale(abs(number))::text;
                significant := ltrim(replace(part, '.', ''), '0');
                -- The number is 0.significant * 10 ^ exponent.
                part := '9' || to_hex(128 + length(split_part(part, '.', 1))
                        - length(replace(part, '.', '')) + length(significant))
                    || translate(rtrim(significant, '0'), '0123456789', '123456789a') || '0';
                part := part || CASE WHEN length(part) % 2 = 0 THEN '0' ELSE '' END;
                is_inverted := is_inverted <> (number < 0);
            END IF;
        WHEN 'BOOLEAN' THEN
            part := CASE draftline.boolean_at(value, '{}') WHEN true THEN '9' WHEN false THEN '6' END;
        WHEN 'DATE' THEN
            part := encode(date_send(draftline.date_at(value, '{}')), 'hex');
            is_signed := true;
        WHEN 'TIMESTAMP' THEN
            part := encode(timestamptz_send(draftline.instant_at(value, '{}')), 'hex');
            is_signed := true;
        END CASE;
        IF is_inverted THEN
            part := translate(part, digits, inverted);
        END IF;
        IF is_signed THEN
            part := translate(left(part, 1), 'f0', '12') || substr(part, 2);
        ELSE
            part := '1' || part;
        END IF;
        hex := hex || coalesce(part, 'ff');
    END LOOP;
    RETURN decode(hex, 'hex');
END $$;

-- Return whether an entry fits into its index: a btree takes rows of up to 2,704 bytes, lengths and padding included.
-- An entry that does not fit is not kept, so that no write fails for it; lists read an order by its entries only where
-- the lengths of the order's types and of the names ensure that all fit. ids: all texts of the entry's primary key.
CREATE OR REPLACE FUNCTION draftline.order_entry_fits(key bytea, ids text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN octet_length(key) + octet_length(ids) <= 2600;
