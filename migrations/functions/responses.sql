-- Stored responses of requests.

-- Return the response of a call on one record as requests store it.
CREATE OR REPLACE FUNCTION draftline.answer(collection text, record_id text, content jsonb, version bigint, parent_id text,
    "position" bigint, created_at timestamptz, created_by text, updated_at timestamptz, updated_by text,
    deleted_at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('collection', collection, 'record_id', record_id, 'content', content,
        'version', version, 'parent_id', parent_id, 'position', "position", 'created_at', created_at,
        'created_by', created_by, 'updated_at', updated_at, 'updated_by', updated_by, 'deleted_at', deleted_at)
$$;

-- Return whether a stored response, a protobuf message, holds the content of one of some records. `record_prefix`: the
-- bytes of a Record before the length and the text of its id, which has at most 128 characters. `conflict_mark`: bytes
-- that every Conflict of the collection has, whose first field is the id.
CREATE OR REPLACE FUNCTION draftline.holds_record(response bytea, record_prefix bytea, conflict_mark bytea, record_ids text[])
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

-- Return the response of a request of which only the version was stored, as draftline.answer() makes it, with
-- changed_fields. NULL: its record was purged since, and may have been created again. The content is null if the log
-- does not hold all values.
CREATE OR REPLACE FUNCTION draftline.rebuilt_answer(tenant text, of_user text, of_request uuid, of_collection text, of_record text)
RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT draftline.answer(r.collection, r.record_id, a.content, q.version,
            CASE WHEN p.attributes IS NULL THEN r.parent_id ELSE p.attributes -> 'parent_id' ->> 0 END,
            CASE WHEN s.attributes IS NULL THEN r.position ELSE (s.attributes -> 'position' ->> 0)::bigint END,
            r.created_at, r.created_by,
            coalesce(c.created_at, (q.answer ->> 'updated_at')::timestamptz),
            coalesce(c.user_id, q.answer ->> 'updated_by'),
            CASE WHEN c.kind = 'DELETE' THEN c.created_at END)
        || CASE WHEN c.source = 'PATCH_CONTENT' THEN jsonb_build_object('changed_fields',
                CASE WHEN c.kind <> 'UPDATE' THEN draftline.changed_fields('{}', coalesce(a.content, '{}'))
                     ELSE draftline.edited_fields(c.edit) END)
            ELSE '{}' END
    FROM draftline.request AS q
    JOIN draftline.record AS r ON r.tenant_id = tenant AND r.collection = of_collection
        AND r.record_id = coalesce(q.answer ->> 'record_id', of_record)
    LEFT JOIN draftline.change AS c ON c.tenant_id = tenant AND c.collection = r.collection AND c.record_id = r.record_id
        AND c.version = q.version AND c.kind <> 'DRAFT' AND c.request_id = q.request_id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN r.version = q.version THEN r.content
            ELSE draftline.content_at(tenant, r.collection, r.record_id, q.version) END AS content
    ) AS a
    LEFT JOIN LATERAL (
        SELECT l.attributes FROM draftline.change AS l
        WHERE l.tenant_id = tenant AND l.collection = r.collection AND l.record_id = r.record_id
          AND l.version > q.version AND l.kind <> 'DRAFT' AND l.attributes ? 'parent_id'
        ORDER BY l.version LIMIT 1
    ) AS p ON true
    LEFT JOIN LATERAL (
        SELECT l.attributes FROM draftline.change AS l
        WHERE l.tenant_id = tenant AND l.collection = r.collection AND l.record_id = r.record_id
          AND l.version > q.version AND l.kind <> 'DRAFT' AND l.attributes ? 'position'
        ORDER BY l.version LIMIT 1
    ) AS s ON true
    WHERE q.tenant_id = tenant AND q.user_id = of_user AND q.request_id = of_request
      -- Versions start again at 1 after a purge: the request id or the time of creation identifies the record.
      AND (c.version IS NOT NULL OR r.created_at = (q.answer ->> 'created_at')::timestamptz));
END $$;
