-- name: keep_answer
-- Keeps what a request is answered, in the transaction of what it wrote. Fails if it was answered before.
INSERT INTO draftline.request (tenant_id, user_id, request_id, fingerprint, response, created_at)
VALUES (:tenant_id, :user_id, CAST(:request_id AS uuid), :fingerprint, :response, now())

-- name: keep_record
-- The same for a call of one record, of which the version is enough: the rest is rebuilt from the record and the log
-- (rebuild_answer). Where the log keeps no values, all of it is kept; where nothing was written, what the log has not.
INSERT INTO draftline.request (tenant_id, user_id, request_id, fingerprint, version, answer, created_at)
SELECT :tenant_id, :user_id, CAST(:request_id AS uuid), :fingerprint,
    CASE WHEN c.history IS DISTINCT FROM 'PATHS' THEN CAST(:version AS bigint) END,
    CASE WHEN c.history = 'PATHS' THEN draftline.answer(:collection, :record_id, CAST(:content AS jsonb), :version,
            :parent_id, :position, :created_at, :created_by, :updated_at, :updated_by, :deleted_at)
            || jsonb_build_object('changed_fields', CAST(:changed_fields AS text[]))
         WHEN NOT CAST(:written AS boolean) THEN jsonb_build_object(
            'collection', CAST(:collection AS text), 'record_id', CAST(:record_id AS text),
            'created_at', CAST(:created_at AS timestamptz),
            'updated_at', CAST(:updated_at AS timestamptz), 'updated_by', CAST(:updated_by AS text)) END,
    now()
FROM (SELECT 1) AS one
LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection

-- name: keep_unfinished
-- The same for a call that goes on after its write: what it wrote, until finish_answer adds what it is answered.
INSERT INTO draftline.request (tenant_id, user_id, request_id, fingerprint, answer, created_at)
VALUES (:tenant_id, :user_id, CAST(:request_id AS uuid), :fingerprint,
    jsonb_build_object('unfinished', CAST(:written AS jsonb)), now())

-- name: finish_answer
-- Keeps what such a call is answered, unless another run of it has done so. No row: it has.
UPDATE draftline.request SET response = :response
WHERE tenant_id = :tenant_id AND user_id = :user_id AND request_id = CAST(:request_id AS uuid) AND response IS NULL
RETURNING request_id

-- name: recall_answer
-- What a request was answered.
SELECT fingerprint, response, version, answer::text AS answer, (answer -> 'unfinished')::text AS unfinished,
    coalesce(answer ? 'purged', false) AS is_purged
FROM draftline.request
WHERE tenant_id = :tenant_id AND user_id = :user_id AND request_id = CAST(:request_id AS uuid)

-- name: rebuild_answer
-- What a request of one record was answered, whose version was kept. NULL: its record was removed since, and may have
-- been created again. Its content is null where the log does not hold the values.
SELECT draftline.rebuilt_answer(CAST(:tenant_id AS text), CAST(:user_id AS text), CAST(:request_id AS uuid),
    CAST(:collection AS text), CAST(:record_id AS text))::text AS answer
