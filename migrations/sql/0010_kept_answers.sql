-- Of a request of one record the version is kept, and no longer the record: what it was answered is rebuilt from the record
-- and the log when it is asked for. Rows of before are answered as they are.
ALTER TABLE draftline.request ADD COLUMN version bigint;
COMMENT ON COLUMN draftline.request.version
    IS 'for a call of one record, the version that it answered: the rest is rebuilt from the record and the log';
COMMENT ON COLUMN draftline.request.answer IS
    'or what the log does not tell of the record that was answered, or all of it; or what a call has written that is not over';

-- The answer of a request that has a version, as draftline.answer() has it, with changed_fields. NULL: its record was
-- removed since, and may have been created again. The content is null where the log does not hold all values.
CREATE FUNCTION draftline.rebuilt_answer(tenant text, of_user text, of_request uuid, of_collection text, of_record text)
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
      -- After a removal for good, versions begin anew: they are told apart by who wrote them, or when.
      AND (c.version IS NOT NULL OR r.created_at = (q.answer ->> 'created_at')::timestamptz));
END $$;
