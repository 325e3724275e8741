-- name: list_tenants
-- The tenants after one, with the use of each; NULL if it was not counted yet. Each step of the recursion looks up the next
-- tenant in the indexes, so the cost depends on the number of tenants that are returned.
WITH RECURSIVE tenants AS (
    SELECT CAST(:after AS text) COLLATE "C" AS tenant_id
    UNION ALL
    SELECT least(
        (SELECT r.tenant_id FROM draftline.record AS r WHERE r.tenant_id > t.tenant_id ORDER BY r.tenant_id LIMIT 1),
        (SELECT d.tenant_id FROM draftline.draft AS d WHERE d.tenant_id > t.tenant_id ORDER BY d.tenant_id LIMIT 1),
        (SELECT c.tenant_id FROM draftline.collection AS c WHERE c.tenant_id > t.tenant_id ORDER BY c.tenant_id LIMIT 1),
        (SELECT q.tenant_id FROM draftline.tenant_quota AS q WHERE q.tenant_id > t.tenant_id ORDER BY q.tenant_id LIMIT 1))
    FROM tenants AS t
    WHERE t.tenant_id IS NOT NULL
)
SELECT p.tenant_id, u.collections, u.records, u.bytes, u.drafts, u.counted_at, q.records AS max_records,
    q.bytes AS max_bytes, q.drafts AS max_drafts
FROM (SELECT t.tenant_id FROM tenants AS t LIMIT :limit OFFSET 1) AS p
LEFT JOIN draftline.tenant_usage AS u ON u.tenant_id = p.tenant_id
LEFT JOIN draftline.tenant_quota AS q ON q.tenant_id = p.tenant_id
WHERE p.tenant_id IS NOT NULL
ORDER BY p.tenant_id

-- name: count_start
SELECT statement_timestamp() AS moment

-- name: count_records
-- A part of a tenant's records: their number and bytes, the number of collections that begin in the part, and its last record.
-- pg_column_size does not read values that are stored out of line.
SELECT count(*) AS rows, coalesce(sum(p.bytes), 0)::bigint AS bytes,
    count(DISTINCT p.collection) FILTER (WHERE p.collection <> :collection) AS collections,
    max(p.collection) AS collection, (array_agg(p.record_id ORDER BY p.collection DESC, p.record_id DESC))[1] AS record_id
FROM (
    SELECT r.collection, r.record_id, pg_column_size(r.content) AS bytes
    FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND (r.collection, r.record_id) > (:collection, :record_id)
    ORDER BY r.collection, r.record_id
    LIMIT :limit
) AS p

-- name: count_drafts_of_tenant
-- A part of a tenant's drafts: their number, and the last draft.
SELECT count(*) AS rows, max(p.user_id) AS user_id,
    (array_agg(p.collection ORDER BY p.user_id DESC, p.collection DESC, p.record_id DESC))[1] AS collection,
    (array_agg(p.record_id ORDER BY p.user_id DESC, p.collection DESC, p.record_id DESC))[1] AS record_id
FROM (
    SELECT d.user_id, d.collection, d.record_id
    FROM draftline.draft AS d
    WHERE d.tenant_id = :tenant_id AND (d.user_id, d.collection, d.record_id) > (:user_id, :collection, :record_id)
    ORDER BY d.user_id, d.collection, d.record_id
    LIMIT :limit
) AS p

-- name: count_empty_collections
-- The collections of a tenant that have a spec and no record.
SELECT count(*) AS rows
FROM draftline.collection AS c
WHERE c.tenant_id = :tenant_id
  AND NOT EXISTS (SELECT FROM draftline.record AS r WHERE r.tenant_id = :tenant_id AND r.collection = c.collection)

-- name: save_tenant_usage
INSERT INTO draftline.tenant_usage (tenant_id, collections, records, bytes, drafts, counted_at)
VALUES (:tenant_id, :collections, :records, :bytes, :drafts, statement_timestamp())
ON CONFLICT (tenant_id) DO UPDATE SET collections = excluded.collections, records = excluded.records,
    bytes = excluded.bytes, drafts = excluded.drafts, counted_at = excluded.counted_at

-- name: forget_tenants
-- Delete the use of tenants that were not counted since a time, because they have nothing left.
DELETE FROM draftline.tenant_usage AS u WHERE u.counted_at < :since

-- name: tenants_by_use
-- The use and the own quotas of tenants that use a tenth of a quota of the settings or more, or have quotas of their own.
-- A quota of 0 is none.
SELECT coalesce(u.tenant_id, q.tenant_id) AS tenant_id, coalesce(u.records, 0) AS records, coalesce(u.bytes, 0) AS bytes,
    coalesce(u.drafts, 0) AS drafts, q.records AS max_records, q.bytes AS max_bytes, q.drafts AS max_drafts
FROM draftline.tenant_usage AS u
FULL JOIN draftline.tenant_quota AS q ON q.tenant_id = u.tenant_id
WHERE q.tenant_id IS NOT NULL
   OR (CAST(:max_records AS bigint) > 0 AND u.records >= :max_records / 10)
   OR (CAST(:max_bytes AS bigint) > 0 AND u.bytes >= :max_bytes / 10)
   OR (CAST(:max_drafts AS bigint) > 0 AND u.drafts >= :max_drafts / 10)

-- name: set_tenant_quota
-- Set quotas of a tenant: NULL leaves one as it is, and -1 makes it that of the settings. Return them.
INSERT INTO draftline.tenant_quota AS q (tenant_id, records, bytes, drafts, changed_at, changed_by)
VALUES (:tenant_id, nullif(CAST(:records AS bigint), -1), nullif(CAST(:bytes AS bigint), -1),
    nullif(CAST(:drafts AS bigint), -1), statement_timestamp(), :user_id)
ON CONFLICT (tenant_id) DO UPDATE SET
    records = CASE WHEN CAST(:records AS bigint) IS NULL THEN q.records ELSE excluded.records END,
    bytes = CASE WHEN CAST(:bytes AS bigint) IS NULL THEN q.bytes ELSE excluded.bytes END,
    drafts = CASE WHEN CAST(:drafts AS bigint) IS NULL THEN q.drafts ELSE excluded.drafts END,
    changed_at = excluded.changed_at, changed_by = excluded.changed_by
RETURNING records AS max_records, bytes AS max_bytes, drafts AS max_drafts

-- name: forget_tenant_quota
-- Remove the row of a tenant that has no quota of its own left.
DELETE FROM draftline.tenant_quota AS q
WHERE q.tenant_id = :tenant_id AND q.records IS NULL AND q.bytes IS NULL AND q.drafts IS NULL
