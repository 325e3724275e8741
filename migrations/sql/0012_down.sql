DELETE FROM draftline.order_entry;
DELETE FROM draftline.draft_order_entry;
DELETE FROM draftline.collection_order;
ALTER TABLE draftline.collection_order
    DROP CONSTRAINT collection_order_state_check,
    ADD CONSTRAINT collection_order_state_check CHECK (state IN ('BUILDING', 'READY', 'DROPPING')),
    DROP COLUMN dropped_at;
COMMENT ON COLUMN draftline.collection_order.state IS
    'BUILDING: writes keep its entries, earlier ones are being added; READY: its entries are complete; '
    'DROPPING: its entries are being deleted';
COMMENT ON COLUMN draftline.collection_order.draft_filled_to IS
    'while BUILDING: the entries of drafts of records up to this record_id exist; NULL: none yet';
DROP FUNCTION draftline.refresh_drafts, draftline.move_order_entries, draftline.move_draft_order_entries,
    draftline.declared_orders, draftline.order_fields;
-- Those that later texts of order_entries.sql define.
DROP FUNCTION IF EXISTS draftline.delete_order_entries, draftline.delete_draft_order_entries, draftline.draft_order_entries,
    draftline.order_key_part;

-- Their texts of order_key call a function that is dropped.
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

-- Apply the drafts of all users over some records to the new contents. It is VOLATILE so that its query takes a
-- snapshot of its own, after the caller has locked the records, and sees drafts that were saved while the caller waited
-- for the locks.
CREATE FUNCTION draftline.refresh_drafts(tenant text, collections text[], record_ids text[], contents jsonb[],
    olds jsonb[] DEFAULT NULL, operations jsonb[] DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    refreshed bigint;
BEGIN
    WITH stale AS MATERIALIZED (
        SELECT d.user_id, d.collection, d.record_id, d.edit, d.base, p.content, p.old, p.operations
        FROM draftline.draft AS d
        JOIN unnest(collections, record_ids, contents, olds, operations)
            AS p (collection, record_id, content, old, operations)
            ON d.collection = p.collection AND d.record_id = p.record_id
        WHERE d.tenant_id = tenant AND d.kind <> 'CREATE'
        ORDER BY d.collection, d.record_id, d.user_id
        FOR UPDATE OF d
    ), done AS MATERIALIZED (
        -- Once a record, and only where there is a draft that it matters to.
        SELECT o.collection, o.record_id, draftline.steps_done_by(o.operations, o.old, o.content) AS steps
        FROM (
            SELECT DISTINCT ON (s.collection, s.record_id) s.collection, s.record_id, s.operations, s.old, s.content
            FROM stale AS s
            WHERE s.operations IS NOT NULL AND draftline.has_transforms(s.edit)
        ) AS o
    )
    UPDATE draftline.draft AS d
    SET merged = draftline.apply_edit(s.edit, s.content), base = draftline.follow(s.base, s.edit, o.steps)
    FROM stale AS s
    LEFT JOIN done AS o ON o.collection = s.collection AND o.record_id = s.record_id
    WHERE d.tenant_id = tenant AND d.user_id = s.user_id AND d.collection = s.collection
      AND d.record_id = s.record_id;
    GET DIAGNOSTICS refreshed = ROW_COUNT;
    RETURN refreshed;
END $$;
