-- The limits that hold for what is sent hold for what comes of it, and records can be removed for good.

-- Why a content may not be stored, or NULL: over a limit of size, depth or count, a number that is too long, or what a
-- declared field does not hold. max_depth NULL: what was made of contents and edits that keep the limits can break neither
-- that of depth nor that of numbers, only those of size and of count. max_nodes NULL: what was counted before.
-- A value takes two bytes of text at least, so that only a content of over two bytes a value needs to be counted.
DROP FUNCTION draftline.content_failure;
CREATE FUNCTION draftline.content_failure(content jsonb, indexed_text jsonb, max_bytes int, max_depth int,
    max_text_bytes int, max_nodes int DEFAULT 10000) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    bytes int := octet_length(content::text);
BEGIN
    IF bytes > max_bytes THEN
        RETURN draftline.too_large('size', max_bytes);
    ELSIF max_depth IS NOT NULL AND draftline.is_deeper(content, max_depth) THEN
        RETURN draftline.too_large('depth', max_depth);
    ELSIF bytes > 2 * max_nodes AND draftline.has_more_values(content, max_nodes) THEN
        RETURN draftline.too_large('count', max_nodes);
    ELSIF max_depth IS NOT NULL AND bytes > 1000 AND jsonb_path_exists(content,
            'strict $.** ? (@.type() == "number" && (@ >= $limit || @ <= -$limit))', '{"limit": 1e1000}') THEN
        RETURN jsonb_build_object('reason', 'NUMBER_TOO_LONG', 'limit', 1000);
    -- Fields that refuse come first: without one, only a content of some size can hold a text that is too long.
    ELSIF indexed_text <> '[]' AND (bytes > max_text_bytes OR jsonb_typeof(indexed_text -> 0) = 'object') THEN
        RETURN draftline.field_failure(content, indexed_text, max_text_bytes);
    END IF;
    RETURN NULL;
END $$;

-- Whether a document has more than so many values, containers included. Their types are what is counted, for those are
-- not copied out of the document.
CREATE FUNCTION draftline.has_more_values(document jsonb, max_nodes int) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT count(*) > max_nodes FROM jsonb_path_query(document, 'strict $.**.type()')
$$;

-- The deleted records of a collection, oldest first, for those that remove them for good.
CREATE INDEX record_deleted_idx ON draftline.record (tenant_id, collection, deleted_at, record_id)
    WHERE deleted_at IS NOT NULL;

-- A purge leaves one entry a record, without content: who removed it, when and why.
ALTER TABLE draftline.change DROP CONSTRAINT change_kind_check;
ALTER TABLE draftline.change ADD CONSTRAINT change_kind_check
    CHECK (kind IN ('CREATE', 'UPDATE', 'DELETE', 'UNDELETE', 'DRAFT', 'PURGE'));
COMMENT ON COLUMN draftline.change.version IS
    'the record''s since the change; 0 for a draft; 0 or less for a purge, one less each time, for versions begin anew after it';
COMMENT ON COLUMN draftline.change.kind IS
    'DRAFT: only that a draft was saved or dropped; nothing for anyone but its user. PURGE: the record and its changes were removed';

-- Whether a kept answer, a message of protobuf, holds content of one of some records. `record_prefix` are the bytes
-- of a Record before the length and the text of its id, which has at most 128 characters; `conflict_mark` those that
-- every Conflict of the collection has, whose first field is the id.
CREATE FUNCTION draftline.holds_record(response bytea, record_prefix bytea, conflict_mark bytea, record_ids text[])
RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    rest bytea := response;
    place int;
    size int;
BEGIN
    LOOP
        place := position(record_prefix IN rest);
        EXIT WHEN place = 0 OR place + length(record_prefix) > length(rest);
        rest := substr(rest, place + length(record_prefix));
        size := get_byte(rest, 0);
        IF size < 128 THEN  -- else the length takes two bytes
            rest := substr(rest, 2);
        ELSIF length(rest) > 1 THEN
            size := size - 128 + 128 * get_byte(rest, 1);
            rest := substr(rest, 3);
        END IF;
        IF substr(rest, 1, size) IN (SELECT convert_to(r, 'UTF8') FROM unnest(record_ids) AS r) THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN position(conflict_mark IN response) > 0 AND EXISTS (
        SELECT FROM unnest(record_ids) AS r, LATERAL (SELECT octet_length(r) AS size) AS l
        WHERE position('\x0a'::bytea || CASE WHEN l.size < 128 THEN set_byte('\x00'::bytea, 0, l.size)
                  ELSE set_byte(set_byte('\x0000'::bytea, 0, 128 + l.size % 128), 1, l.size / 128) END
              || convert_to(r, 'UTF8') IN response) > 0);
END $$;
