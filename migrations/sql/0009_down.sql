DROP FUNCTION draftline.content_failure;
DROP FUNCTION draftline.has_more_values;
-- max_depth NULL: what was made of contents and edits that are no deeper cannot be.
CREATE FUNCTION draftline.content_failure(
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
DROP FUNCTION draftline.holds_record;
DROP INDEX draftline.record_deleted_idx;
DELETE FROM draftline.change WHERE kind = 'PURGE';
ALTER TABLE draftline.change DROP CONSTRAINT change_kind_check;
ALTER TABLE draftline.change ADD CONSTRAINT change_kind_check
    CHECK (kind IN ('CREATE', 'UPDATE', 'DELETE', 'UNDELETE', 'DRAFT'));
COMMENT ON COLUMN draftline.change.version IS 'the record''s since the change; 0 for a draft';
COMMENT ON COLUMN draftline.change.kind IS 'DRAFT: only that a draft was saved or dropped; nothing for anyone but its user';
