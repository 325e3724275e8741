-- Fields accept again what they cannot hold. The indexes that read_instant makes go with it: the version before builds
-- its own when it starts.
UPDATE draftline.collection
SET fields = coalesce((SELECT jsonb_agg(f.field - 'on_type_mismatch' ORDER BY f.place)
        FROM jsonb_array_elements(fields) WITH ORDINALITY AS f (field, place)), '[]'),
    indexed_text = coalesce((SELECT jsonb_agg(i.entry ORDER BY i.place)
        FROM jsonb_array_elements(indexed_text) WITH ORDINALITY AS i (entry, place)
        WHERE jsonb_typeof(i.entry) = 'array'), '[]');

-- One condition of a filter, on the document it is about: the content or the attributes.
CREATE OR REPLACE FUNCTION draftline.matches_condition(content jsonb, condition jsonb) RETURNS boolean
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

-- max_depth NULL: what was made of contents and edits that are no deeper cannot be.
CREATE OR REPLACE FUNCTION draftline.content_failure(
    content jsonb, indexed_text jsonb, max_bytes int, max_depth int, max_text_bytes int) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    bytes int := octet_length(content::text);
    path text;
BEGIN
    IF bytes > max_bytes THEN
        RETURN draftline.too_large('size', max_bytes);
    ELSIF max_depth IS NOT NULL AND draftline.is_deeper(content, max_depth) THEN
        RETURN draftline.too_large('depth', max_depth);
    ELSIF bytes > max_text_bytes AND indexed_text <> '[]' THEN
        path := draftline.overlong_text(content, indexed_text, max_text_bytes);
        IF path IS NOT NULL THEN
            RETURN jsonb_build_object('reason', 'INDEXED_TEXT_TOO_LONG', 'path', path, 'limit', max_text_bytes);
        END IF;
    END IF;
    RETURN NULL;
END $$;

COMMENT ON COLUMN draftline.collection.fields IS '[{"path": [tokens], "type": "TEXT"}]';
COMMENT ON COLUMN draftline.collection.indexed_text IS 'the paths of the TEXT fields: [[tokens]]';

DROP FUNCTION draftline.field_failure, draftline.compare_value, draftline.has_key_at, draftline.value_at,
    draftline.lower_text;
DROP FUNCTION draftline.is_mistyped, draftline.instant_at, draftline.read_instant CASCADE;
