-- Checks of content before it is stored.

-- Return whether objects and arrays are nested deeper than max_depth. A scalar does not count as a level.
CREATE OR REPLACE FUNCTION draftline.is_deeper(document jsonb, max_depth int) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_path_exists(document,
        format('strict $.**{%s} ? (@.type() == "object" || @.type() == "array")', max_depth)::jsonpath)
$$;

-- Return the failure of a document that exceeds a limit of size, in bytes of JSON text, or of depth.
CREATE OR REPLACE FUNCTION draftline.too_large(what text, maximum int) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('reason', 'DOCUMENT_TOO_LARGE', 'what', what, 'limit', maximum)
$$;

-- Return the first of some paths whose text is too long for its index, as a JSON Pointer; NULL if there is none.
-- indexed_text: [[tokens], ...], the paths of the TEXT fields.
CREATE OR REPLACE FUNCTION draftline.overlong_text(content jsonb, indexed_text jsonb, max_text_bytes int) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    path jsonb;
    value jsonb;
BEGIN
    FOR place IN 0 .. jsonb_array_length(indexed_text) - 1 LOOP
        path := indexed_text -> place;
        value := content;
        FOR depth IN 0 .. jsonb_array_length(path) - 1 LOOP
            value := value #> ARRAY[path ->> depth];  -- as indexed_text_at finds it: in arrays too
        END LOOP;
        IF jsonb_typeof(value) = 'string' AND octet_length(value #>> '{}') > max_text_bytes THEN
            RETURN draftline.pointer(ARRAY(SELECT jsonb_array_elements_text(path)));
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Return why a content may not be stored; NULL if it may. max_depth NULL: the depth is not checked, because the content
-- was made of values within the limit.
CREATE OR REPLACE FUNCTION draftline.content_failure(content jsonb, indexed_text jsonb, max_bytes int, max_depth int,
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

-- Return the failure of the first declared field that prevents storing a content; NULL if there is none. checked:
-- {"path": [tokens], "type": "DATE"} for fields that reject other types, [tokens] for TEXT fields.
CREATE OR REPLACE FUNCTION draftline.field_failure(content jsonb, checked jsonb, max_text_bytes int) RETURNS jsonb
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

-- Return whether a document has more than max_nodes values, containers included. It counts their types, because types
-- are not copied out of the document.
CREATE OR REPLACE FUNCTION draftline.has_more_values(document jsonb, max_nodes int) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT count(*) > max_nodes FROM jsonb_path_query(document, 'strict $.**.type()')
$$;
