-- name: patch_content
-- Apply plain patches of different records of one tenant, which belong to one call. It waits for records that are locked.
WITH locked AS MATERIALIZED (
    -- include: plain_patches.patched_records
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
        FOR UPDATE
    ) AS r
),
-- include: plain_patches.apply
