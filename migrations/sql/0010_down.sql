-- What was kept by version is rebuilt, as an earlier release has it. What cannot be is answered without its record: were
-- it forgotten, the request would be done once more.
UPDATE draftline.request AS q
SET answer = draftline.rebuilt_answer(q.tenant_id, q.user_id, q.request_id, c.collection, c.record_id)
FROM draftline.change AS c
WHERE q.version IS NOT NULL AND NOT coalesce(q.answer ? 'updated_at', false)
  AND c.tenant_id = q.tenant_id AND c.user_id = q.user_id AND c.request_id = q.request_id AND c.version = q.version
  AND c.kind <> 'DRAFT' AND c.created_at >= (SELECT min(created_at) FROM draftline.request) - interval '1 hour';
UPDATE draftline.request
SET answer = draftline.rebuilt_answer(tenant_id, user_id, request_id, answer ->> 'collection', answer ->> 'record_id')
WHERE version IS NOT NULL AND answer ? 'created_at' AND NOT answer ? 'content';
UPDATE draftline.request SET answer = NULL, response = ''
WHERE version IS NOT NULL AND coalesce(answer -> 'content', 'null') = 'null';
DROP FUNCTION draftline.rebuilt_answer;
ALTER TABLE draftline.request DROP COLUMN version;
COMMENT ON COLUMN draftline.request.answer
    IS 'or the record and its changed_fields, for a call of one; or what a call has written that is not over';
