-- name: keep_answer
-- Keeps what a request is answered, in the transaction of what it wrote. Fails if it was answered before.
INSERT INTO draftline.request (tenant_id, user_id, request_id, fingerprint, response, created_at)
VALUES (:tenant_id, :user_id, CAST(:request_id AS uuid), :fingerprint, :response, now())

-- name: keep_record
-- The same for a call of one record.
INSERT INTO draftline.request (tenant_id, user_id, request_id, fingerprint, answer, created_at)
VALUES (:tenant_id, :user_id, CAST(:request_id AS uuid), :fingerprint,
    draftline.answer(:collection, :record_id, CAST(:content AS jsonb), :version, :parent_id, :position,
        :created_at, :created_by, :updated_at, :updated_by, :deleted_at)
    || jsonb_build_object('changed_fields', CAST(:changed_fields AS text[])), now())

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
SELECT fingerprint, response, answer::text AS answer, (answer -> 'unfinished')::text AS unfinished,
    coalesce(answer ? 'purged', false) AS is_purged
FROM draftline.request
WHERE tenant_id = :tenant_id AND user_id = :user_id AND request_id = CAST(:request_id AS uuid)
