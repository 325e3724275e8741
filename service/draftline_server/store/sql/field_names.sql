-- name: sampled_fields
-- Return for each path whether a record of a sample has a value there, and the names beside it. The sample is the first
-- records of the collection and the caller's latest drafts. A path leads through the elements of arrays.
WITH sample AS MATERIALIZED (
    (
        SELECT content FROM draftline.record
        WHERE tenant_id = :tenant_id AND collection = :collection AND deleted_at IS NULL
        ORDER BY record_id
        LIMIT CAST(:records AS integer)
    )
    UNION ALL
    (
        SELECT merged FROM draftline.draft
        WHERE tenant_id = :tenant_id AND user_id = :user_id AND collection = :collection AND merged IS NOT NULL
        ORDER BY record_id
        LIMIT CAST(:records AS integer)
    )
)
SELECT wanted.path,
    EXISTS (SELECT 1 FROM sample WHERE jsonb_path_exists(sample.content, CAST(wanted.path AS jsonpath))) AS is_present,
    ARRAY(
        SELECT DISTINCT key
        FROM sample, jsonb_path_query(sample.content, CAST(wanted.parent AS jsonpath)) AS parent,
            jsonb_object_keys(CASE WHEN jsonb_typeof(parent) = 'object' THEN parent ELSE '{}' END) AS key
        LIMIT CAST(:names AS integer)
    ) AS siblings,
    EXISTS (SELECT 1 FROM sample) AS has_records
FROM unnest(CAST(:paths AS text[]), CAST(:parents AS text[])) AS wanted (path, parent)
