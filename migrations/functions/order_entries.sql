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
-- draftline_server.store.lists.order_keys encodes values in the same way. Writes spend much of their time here, so the usual
-- values are encoded by single expressions: ascending texts, numbers of up to 11 significant digits, whose keys fit into 64
-- bits, and dates of the form 2026-11-20 up to day 28 of a month. The others are encoded by order_key_part.
CREATE OR REPLACE FUNCTION draftline.order_key(content jsonb, keys jsonb) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    key jsonb;
    value jsonb;
    value_text text;
    type text;
    is_descending boolean;
    digits text;
    part bytea;
    result bytea;
BEGIN
    FOR index IN 0 .. jsonb_array_length(keys) - 1 LOOP
        key := keys -> index;
        value := content -> (key #>> '{path,0}');
        IF jsonb_array_length(key -> 'path') > 1 THEN
            FOR depth IN 1 .. jsonb_array_length(key -> 'path') - 1 LOOP
                value := value -> (key -> 'path' ->> depth);
            END LOOP;
        END IF;
        value_text := value #>> '{}';
        type := key ->> 'type';
        is_descending := coalesce(key -> 'descending' = 'true', false);
        IF value_text IS NULL THEN
            part := '\xff';
        ELSIF type = 'TEXT' AND NOT is_descending THEN
            part := CASE WHEN jsonb_typeof(value) = 'string' AND octet_length(value_text) <= 800
                THEN '\x10' || convert_to(value_text, 'UTF8') || '\x00' ELSE '\xff' END;
        ELSIF type = 'NUMBER' AND jsonb_typeof(value) = 'number' THEN
            digits := btrim(replace(replace(value_text, '-', ''), '.', ''), '0');
            part := CASE
                WHEN octet_length(value_text) > 100 OR octet_length(digits) > 11
                    THEN draftline.order_key_part(value, type, is_descending)
                WHEN digits = '' THEN CASE WHEN is_descending THEN '\x17'::bytea ELSE '\x18'::bytea END
                -- 0x0fff..., to invert all digits but the first, and 0x111111111111, to add one to each significant digit
                ELSE substr(int8send(
                    CASE WHEN is_descending <> starts_with(value_text, '-') THEN 1152921504606846975 ELSE 0 END
                    # (CAST(CAST('x19'
                            || to_hex(128 + octet_length(ltrim(replace(replace(value_text, '-', ''), '.', ''), '0'))
                                - CASE strpos(value_text, '.') WHEN 0 THEN 0
                                       ELSE octet_length(value_text) - strpos(value_text, '.') END)
                            || rpad(digits, 12, '0') AS bit(64)) AS bigint)
                        + ((18764998447377 >> (48 - 4 * octet_length(digits))) << (48 - 4 * octet_length(digits))))
                ), 1, octet_length(digits) / 2 + 3) END;
        ELSIF type = 'DATE' AND octet_length(value_text) = 10 AND value_text LIKE '____-__-__'
                AND octet_length(replace(value_text, '-', '')) = 8
                AND ltrim(replace(value_text, '-', ''), '0123456789') = ''
                AND left(value_text, 4) <> '0000' AND substr(value_text, 6, 2) COLLATE "C" BETWEEN '01' AND '12'
                AND right(value_text, 2) COLLATE "C" BETWEEN '01' AND '28' AND jsonb_typeof(value) = 'string' THEN
            part := int4send(CASE WHEN is_descending THEN 536870911 ELSE 536870912 END
                + CASE WHEN is_descending THEN -1 ELSE 1 END * (make_date(CAST(left(value_text, 4) AS int),
                    CAST(substr(value_text, 6, 2) AS int), CAST(right(value_text, 2) AS int)) - date '2000-01-01'));
        ELSE
            part := draftline.order_key_part(value, type, is_descending);
        END IF;
        result := CASE WHEN index = 0 THEN part ELSE result || part END;
    END LOOP;
    RETURN result;
END $$;

-- Return the part of a sort key for the value of one field.
CREATE OR REPLACE FUNCTION draftline.order_key_part(value jsonb, type text, is_descending boolean) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    digits CONSTANT text := '0123456789abcdef';
    inverted CONSTANT text := 'fedcba9876543210';
    number numeric;
    is_inverted boolean := is_descending;
    is_signed boolean := false;
    significant text;
    part text;
BEGIN
    CASE type
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
    RETURN decode(coalesce(part, 'ff'), 'hex');
END $$;

-- Return whether an entry fits into its index: a btree takes rows of up to 2,704 bytes, lengths and padding included.
-- An entry that does not fit is not kept, so that no write fails for it; lists read an order by its entries only where
-- the lengths of the order's types and of the names ensure that all fit. ids: all texts of the entry's primary key.
CREATE OR REPLACE FUNCTION draftline.order_entry_fits(key bytea, ids text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN octet_length(key) + octet_length(ids) <= 2600;

-- Return the orders that a collection spec requires, as draftline.collection_order.keys has them: each field, ascending, and
-- the declared orders. Arguments: `fields` and `orders` of draftline.collection.
CREATE OR REPLACE FUNCTION draftline.declared_orders(fields jsonb, orders jsonb) RETURNS SETOF jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_array(jsonb_build_object('path', f.value -> 'path', 'type', f.value -> 'type', 'descending', false))
    FROM jsonb_array_elements(fields) AS f
    UNION
    SELECT jsonb_agg(jsonb_build_object('path', k.value -> 'path', 'type', f.value -> 'type',
        'descending', coalesce(k.value -> 'descending', 'false')) ORDER BY k.index)
    FROM jsonb_array_elements(orders) WITH ORDINALITY AS o (value, number)
    CROSS JOIN jsonb_array_elements(o.value) WITH ORDINALITY AS k (value, index)
    JOIN jsonb_array_elements(fields) AS f ON f.value -> 'path' = k.value -> 'path'
    GROUP BY o.number
$$;

-- Return the top-level fields that the keys of an order read.
CREATE OR REPLACE FUNCTION draftline.order_fields(keys jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(DISTINCT k.value -> 'path' ->> 0) FROM jsonb_array_elements(keys) AS k
$$;

-- Delete entries of records, which the caller has found by their keys, or those of drafts. The settings leave one plan, which
-- reads these rows only, whatever the planner knows of the table. Rows of other partitions belong to other tenants.
CREATE OR REPLACE FUNCTION draftline.delete_order_entries(tenant text, entries tid[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_indexscan = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    DELETE FROM draftline.order_entry AS e WHERE e.tenant_id = tenant AND e.ctid = ANY (entries);
END $$;

CREATE OR REPLACE FUNCTION draftline.delete_draft_order_entries(tenant text, entries tid[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_indexscan = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    DELETE FROM draftline.draft_order_entry AS e WHERE e.tenant_id = tenant AND e.ctid = ANY (entries);
END $$;

-- Replace entries of live records, in parallel arrays, after a write that locked the records. old_keys, new_keys: NULL where
-- there was or will be no entry. It is VOLATILE so that its queries take snapshots of their own and see the entries that
-- another write made while the caller waited for the locks. Each old entry is found by its
-- primary key, because a join might read all entries of the tenant while the planner does not know the table. The settings
-- make one plan serve any call. A new entry hardly ever exists, and ON CONFLICT takes as long again as the insertion, so
-- it is used only once an insertion has failed.
CREATE OR REPLACE FUNCTION draftline.move_order_entries(tenant text, collections text[], record_ids text[],
    order_ids bigint[], old_keys bytea[], new_keys bytea[]) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    old_entries tid[] := ARRAY(
        SELECT e.ctid
        FROM unnest(collections, record_ids, order_ids, old_keys) AS m (collection, record_id, order_id, key)
        CROSS JOIN LATERAL (
            SELECT e.ctid FROM draftline.order_entry AS e
            WHERE e.tenant_id = tenant AND e.collection = m.collection AND e.order_id = m.order_id AND e.key = m.key
              AND e.record_id = m.record_id
            OFFSET 0
        ) AS e
        WHERE m.key IS NOT NULL);
BEGIN
    IF cardinality(old_entries) > 0 THEN
        PERFORM draftline.delete_order_entries(tenant, old_entries);
    END IF;
    BEGIN
        INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
        SELECT tenant, m.collection, m.order_id, m.key, m.record_id
        FROM unnest(collections, record_ids, order_ids, new_keys) AS m (collection, record_id, order_id, key)
        WHERE draftline.order_entry_fits(m.key, tenant || m.collection || m.record_id);
    EXCEPTION WHEN unique_violation THEN  -- a build has added one of them
        INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
        SELECT tenant, m.collection, m.order_id, m.key, m.record_id
        FROM unnest(collections, record_ids, order_ids, new_keys) AS m (collection, record_id, order_id, key)
        WHERE draftline.order_entry_fits(m.key, tenant || m.collection || m.record_id)
        ON CONFLICT DO NOTHING;
    END;
    RETURN true;
END $$;

-- Return the entries of drafts of one user and collection, if that is cheaper than to look up each: the entries of all drafts
-- of the user are then read. NULL: it is not, because there are few of these drafts, or many more of the user. Entries are
-- counted, not drafts, because any index of drafts might be read for that while the planner does not know the table.
CREATE OR REPLACE FUNCTION draftline.draft_order_entries(tenant text, of_user text, of_collection text, record_ids text[])
RETURNS tid[]
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    most int := 4 * cardinality(record_ids);
BEGIN
    IF most < 40 OR most < (
            SELECT max(c.entries)
            FROM draftline.collection_order AS o
            CROSS JOIN LATERAL (
                SELECT count(*) AS entries
                FROM (
                    SELECT FROM draftline.draft_order_entry AS e
                    WHERE e.tenant_id = tenant AND e.user_id = of_user AND e.collection = of_collection
                      AND e.order_id = o.order_id
                    LIMIT most + 1
                ) AS e
            ) AS c
            WHERE o.tenant_id = tenant AND o.collection = of_collection AND o.state <> 'DELETING') THEN
        RETURN NULL;
    END IF;
    RETURN ARRAY(
        SELECT e.ctid
        FROM draftline.collection_order AS o
        CROSS JOIN LATERAL (
            SELECT e.ctid, e.record_id FROM draftline.draft_order_entry AS e
            WHERE e.tenant_id = tenant AND e.user_id = of_user AND e.collection = of_collection AND e.order_id = o.order_id
            OFFSET 0
        ) AS e
        WHERE o.tenant_id = tenant AND o.collection = of_collection AND o.state <> 'DELETING'
          AND (e.record_id IN (SELECT unnest(record_ids))) IS TRUE);  -- not as a join, which could take any form
END $$;

-- The same for drafts, whose merged contents are compared. olds, news: NULL where there was or will be no draft.
CREATE OR REPLACE FUNCTION draftline.move_draft_order_entries(tenant text, user_ids text[], collections text[],
    record_ids text[], olds jsonb[], news jsonb[]) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    moved record;
    old_entries tid[];
BEGIN
    IF user_ids[1] = ALL (user_ids) AND collections[1] = ALL (collections)
            AND NOT EXISTS (SELECT FROM unnest(news) AS n (new) WHERE n.new IS NOT NULL) THEN
        old_entries := draftline.draft_order_entries(tenant, user_ids[1], collections[1], record_ids);
        IF old_entries IS NOT NULL THEN
            PERFORM draftline.delete_draft_order_entries(tenant, old_entries);
            RETURN true;
        END IF;
    END IF;
    SELECT array_agg(m.user_id) AS user_ids, array_agg(m.collection) AS collections,
        array_agg(m.record_id) AS record_ids, array_agg(m.order_id) AS order_ids,
        array_agg(m.old_key) AS old_keys, array_agg(m.new_key) AS new_keys
    INTO moved
    FROM (
        SELECT d.user_id, d.collection, d.record_id, o.order_id,
            CASE WHEN d.old IS NOT NULL THEN draftline.order_key(d.old, o.keys) END AS old_key,
            CASE WHEN d.new IS NOT NULL THEN draftline.order_key(d.new, o.keys) END AS new_key
        FROM unnest(user_ids, collections, record_ids, olds, news) AS d (user_id, collection, record_id, old, new)
        JOIN draftline.collection_order AS o
            ON o.tenant_id = tenant AND o.collection = d.collection AND o.state <> 'DELETING'
            AND o.keys #>> '{0,type}' <> 'ID'
        WHERE d.old IS NULL OR d.new IS NULL
           OR EXISTS (SELECT FROM unnest(o.fields) AS f (name) WHERE d.old -> f.name IS DISTINCT FROM d.new -> f.name)
        OFFSET 0  -- so that each key is computed once
    ) AS m
    WHERE m.old_key IS DISTINCT FROM m.new_key;
    SELECT moved.user_ids || array_agg(d.user_id) AS user_ids, moved.collections || array_agg(d.collection) AS collections,
        moved.record_ids || array_agg(d.record_id) AS record_ids, moved.order_ids || array_agg(o.order_id) AS order_ids,
        moved.old_keys || array_agg(k.old_key) AS old_keys, moved.new_keys || array_agg(k.new_key) AS new_keys
    INTO moved
    FROM unnest(user_ids, collections, record_ids, olds, news) AS d (user_id, collection, record_id, old, new)
    JOIN draftline.collection_order AS o
        ON o.tenant_id = tenant AND o.collection = d.collection AND o.state <> 'DELETING' AND o.keys #>> '{0,type}' = 'ID'
    CROSS JOIN LATERAL draftline.moved_relation_keys(d.old, d.new, o.keys) AS k;
    IF moved.order_ids IS NULL THEN
        RETURN false;
    END IF;
    old_entries := ARRAY(
        SELECT e.ctid
        FROM unnest(moved.user_ids, moved.collections, moved.record_ids, moved.order_ids, moved.old_keys)
            AS m (user_id, collection, record_id, order_id, key)
        CROSS JOIN LATERAL (
            SELECT e.ctid FROM draftline.draft_order_entry AS e
            WHERE e.tenant_id = tenant AND e.user_id = m.user_id AND e.collection = m.collection
              AND e.order_id = m.order_id AND e.key = m.key AND e.record_id = m.record_id
            OFFSET 0
        ) AS e
        WHERE m.key IS NOT NULL);
    IF cardinality(old_entries) > 0 THEN
        PERFORM draftline.delete_draft_order_entries(tenant, old_entries);
    END IF;
    BEGIN
        INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
        SELECT tenant, m.user_id, m.collection, m.order_id, m.key, m.record_id
        FROM unnest(moved.user_ids, moved.collections, moved.record_ids, moved.order_ids, moved.new_keys)
            AS m (user_id, collection, record_id, order_id, key)
        WHERE draftline.order_entry_fits(m.key, tenant || m.user_id || m.collection || m.record_id);
    EXCEPTION WHEN unique_violation THEN  -- a build has added one of them
        INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
        SELECT tenant, m.user_id, m.collection, m.order_id, m.key, m.record_id
        FROM unnest(moved.user_ids, moved.collections, moved.record_ids, moved.order_ids, moved.new_keys)
            AS m (user_id, collection, record_id, order_id, key)
        WHERE draftline.order_entry_fits(m.key, tenant || m.user_id || m.collection || m.record_id)
        ON CONFLICT DO NOTHING;
    END;
    RETURN true;
END $$;
