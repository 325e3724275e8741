-- The orders of collections, and their entries: the sort keys of records and drafts as rows of their own.

-- The orders that are kept as entries. Each declared field has an order of its own, ascending, beside the declared ones.
CREATE SEQUENCE draftline.order_id;
CREATE TABLE draftline.collection_order (
    tenant_id text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    order_id bigint NOT NULL DEFAULT nextval('draftline.order_id'),
    keys jsonb NOT NULL,
    fields text[] NOT NULL,
    state text NOT NULL DEFAULT 'BUILDING'
        CONSTRAINT collection_order_state_check CHECK (state IN ('BUILDING', 'READY', 'DROPPING')),
    record_filled_to text COLLATE "C",
    draft_filled_to text COLLATE "C",
    record_count bigint NOT NULL DEFAULT 0,
    draft_count bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    ready_at timestamptz,
    PRIMARY KEY (tenant_id, collection, order_id)
);
ALTER SEQUENCE draftline.order_id OWNED BY draftline.collection_order.order_id;

-- The orders that the background job has to work on.
CREATE INDEX collection_order_unready_idx ON draftline.collection_order (tenant_id, collection, order_id)
    WHERE state <> 'READY';

-- The entries of live records.
CREATE TABLE draftline.order_entry (
    tenant_id text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    order_id bigint NOT NULL,
    key bytea NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, collection, order_id, key, record_id)
);

-- The entries of all drafts, by their merged content.
CREATE TABLE draftline.draft_order_entry (
    tenant_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    order_id bigint NOT NULL,
    key bytea NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, user_id, collection, order_id, key, record_id)
);

-- As for records: the planner may not conclude from its statistics that a tenant, a user or an order has few entries.
ALTER TABLE draftline.order_entry
    ALTER COLUMN tenant_id SET (n_distinct = 1), ALTER COLUMN collection SET (n_distinct = 1),
    ALTER COLUMN order_id SET (n_distinct = 1), ALTER COLUMN key SET (n_distinct = -1),
    ALTER COLUMN record_id SET (n_distinct = -1);
ALTER TABLE draftline.draft_order_entry
    ALTER COLUMN tenant_id SET (n_distinct = 1), ALTER COLUMN user_id SET (n_distinct = 1),
    ALTER COLUMN collection SET (n_distinct = 1), ALTER COLUMN order_id SET (n_distinct = 1),
    ALTER COLUMN key SET (n_distinct = -1), ALTER COLUMN record_id SET (n_distinct = -1);
-- The settings take effect with the first statistics, so make some now.
INSERT INTO draftline.order_entry SELECT '', '', 0, g::text::bytea, g::text FROM generate_series(1, 10) AS g;
INSERT INTO draftline.draft_order_entry SELECT '', '', '', 0, g::text::bytea, g::text FROM generate_series(1, 10) AS g;
ANALYZE draftline.order_entry, draftline.draft_order_entry;
DELETE FROM draftline.order_entry;
DELETE FROM draftline.draft_order_entry;

COMMENT ON TABLE draftline.collection_order IS 'The orders of collections that are kept as entries.';
COMMENT ON COLUMN draftline.collection_order.order_id IS 'never used again, for no other order and after no drop';
COMMENT ON COLUMN draftline.collection_order.keys IS '[{"path": [names], "type": "TEXT", "descending": false}]';
COMMENT ON COLUMN draftline.collection_order.fields IS 'the top-level fields of the content that the keys read';
COMMENT ON COLUMN draftline.collection_order.state IS
    'BUILDING: writes keep its entries, earlier ones are being added; READY: its entries are complete; '
    'DROPPING: its entries are being deleted';
COMMENT ON COLUMN draftline.collection_order.record_filled_to IS
    'while BUILDING: the entries of live records up to this record_id exist; NULL: none yet';
COMMENT ON COLUMN draftline.collection_order.draft_filled_to IS
    'while BUILDING: the entries of drafts of records up to this record_id exist; NULL: none yet';
COMMENT ON COLUMN draftline.collection_order.record_count IS 'records that the background job has read so far';
COMMENT ON COLUMN draftline.collection_order.draft_count IS 'drafts that the background job has read so far';
COMMENT ON TABLE draftline.order_entry IS
    'One row for each live record and each order of its collection, unless it is too long for order_entry_fits().';
COMMENT ON COLUMN draftline.order_entry.key IS 'draftline.order_key() of the content and the order''s keys';
COMMENT ON TABLE draftline.draft_order_entry IS
    'One row for each draft and each order of its collection, unless it is too long for order_entry_fits().';
COMMENT ON COLUMN draftline.draft_order_entry.key IS 'draftline.order_key() of the merged content and the order''s keys';

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
CREATE FUNCTION draftline.order_key(content jsonb, keys jsonb) RETURNS bytea
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
CREATE FUNCTION draftline.order_entry_fits(key bytea, ids text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN octet_length(key) + octet_length(ids) <= 2600;
