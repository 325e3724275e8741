-- name: patch_content
-- Apply plain patches of different records of one tenant, which belong to one call. It waits for records that are locked.
WITH locked AS MATERIALIZED (
    -- include: plain_patches.patched_records
    WHERE r.tenant_id = :tenant_id
    ORDER BY r.collection, r.record_id
    FOR UPDATE OF r
),
-- include: plain_patches.apply
