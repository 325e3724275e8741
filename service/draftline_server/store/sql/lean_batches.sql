-- name: patch_content
-- Apply lean patches of different records of one tenant, which belong to one call. It waits for records that are locked.
WITH
-- include: lean_patches.spec
, locked AS MATERIALIZED (
    -- include: lean_patches.patched_records
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
        FOR UPDATE
    ) AS r
    WHERE EXISTS (SELECT FROM spec)
),
-- include: lean_patches.apply
