-- name: store_response
-- Store the response of a request, in the transaction of its writes. It fails if one is stored already.
INSERT INTO draftline.request (tenant_id, user_id, request_id, fingerprint, response, created_at)
VALUES (:tenant_id, :user_id, CAST(:request_id AS uuid), :fingerprint, :response, now())

-- fragment: store_record_responses
-- Stores the responses of requests that each name one record. A common table expression `responses` precedes it, with a row
-- for each request, and these columns:
--
--   user_id, request_id, fingerprint  the request; fingerprint NULL: nothing is stored
--   is_rebuilt                        store the version alone: rebuild_response makes the rest from the record and the log.
--                                     False where the log does not hold the values: the whole record is stored
--   remainder                         if is_rebuilt, what neither the record nor the log holds; NULL: nothing
--   result                            else what the response has beside the record
--   collection, record_id, content, version, parent_id, position, created_at, created_by, updated_at, updated_by,
--   deleted_at                        the record as it is returned
stored_response AS (
    INSERT INTO draftline.request (tenant_id, user_id, request_id, fingerprint, version, answer, created_at)
    SELECT :tenant_id, r.user_id, r.request_id, r.fingerprint, CASE WHEN r.is_rebuilt THEN r.version END,
        CASE WHEN r.is_rebuilt THEN r.remainder
             ELSE draftline.answer(r.collection, r.record_id, r.content, r.version, r.parent_id, r.position,
                r.created_at, r.created_by, r.updated_at, r.updated_by, r.deleted_at) || r.result END,
        CAST(:now AS timestamptz)
    FROM responses AS r
    WHERE r.fingerprint IS NOT NULL
    ORDER BY r.user_id COLLATE "C", r.request_id
)

-- name: store_record_response
-- Store the response of a request that names one record, after its write.
WITH responses AS (
    SELECT CAST(:user_id AS text) AS user_id, CAST(:request_id AS uuid) AS request_id,
        CAST(:fingerprint AS bytea) AS fingerprint, c.history IS DISTINCT FROM 'PATHS' AS is_rebuilt,
        CASE WHEN NOT CAST(:written AS boolean) THEN jsonb_build_object(
            'collection', CAST(:collection AS text), 'record_id', CAST(:record_id AS text),
            'created_at', CAST(:created_at AS timestamptz),
            'updated_at', CAST(:updated_at AS timestamptz), 'updated_by', CAST(:updated_by AS text)) END AS remainder,
        jsonb_build_object('changed_fields', CAST(:changed_fields AS text[])) AS result,
        CAST(:collection AS text) AS collection, CAST(:record_id AS text) AS record_id,
        CAST(:content AS jsonb) AS content, CAST(:version AS bigint) AS version,
        CAST(:parent_id AS text) AS parent_id, CAST(:position AS bigint) AS position,
        CAST(:created_at AS timestamptz) AS created_at, CAST(:created_by AS text) AS created_by,
        CAST(:updated_at AS timestamptz) AS updated_at, CAST(:updated_by AS text) AS updated_by,
        CAST(:deleted_at AS timestamptz) AS deleted_at
    FROM (SELECT 1) AS one
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
),
-- include: requests.store_record_responses
SELECT 1

-- name: store_unfinished
-- Store what a call wrote that goes on after its write, until finish_response adds its response.
INSERT INTO draftline.request (tenant_id, user_id, request_id, fingerprint, answer, created_at)
VALUES (:tenant_id, :user_id, CAST(:request_id AS uuid), :fingerprint,
    jsonb_build_object('unfinished', CAST(:written AS jsonb)), now())

-- name: finish_response
-- Add the response of such a call, unless another run of it has done so. No row: it has.
UPDATE draftline.request SET response = :response
WHERE tenant_id = :tenant_id AND user_id = :user_id AND request_id = CAST(:request_id AS uuid) AND response IS NULL
RETURNING request_id

-- name: find_response
-- Return the stored response of a request.
SELECT fingerprint, response, version, answer::text AS answer, (answer -> 'unfinished')::text AS unfinished,
    coalesce(answer ? 'purged', false) AS is_purged
FROM draftline.request
WHERE tenant_id = :tenant_id AND user_id = :user_id AND request_id = CAST(:request_id AS uuid)

-- name: rebuild_response
-- Return the response of a request of which only the version was stored. NULL: its record was purged since, and may have
-- been created again. The content is null where the log does not hold the values.
SELECT draftline.rebuilt_answer(CAST(:tenant_id AS text), CAST(:user_id AS text), CAST(:request_id AS uuid),
    CAST(:collection AS text), CAST(:record_id AS text))::text AS answer
