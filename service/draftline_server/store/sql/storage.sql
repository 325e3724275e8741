-- name: table_parts
-- Return the size of each table of the service, of partitioned ones by partition. bytes: with indexes and long values;
-- heap_bytes: without them; unused_bytes: an estimate of the part of heap_bytes that no row needs, by the last ANALYZE.
-- tenant_id: the tenant whose partition it is.
SELECT t.relname AS table_name, CASE WHEN c.oid <> t.oid THEN c.relname ELSE '' END AS part,
    substring(obj_description(c.oid, 'pg_class') FROM '^tenant (.*)$') AS tenant_id,
    CAST(greatest(c.reltuples, 0) AS bigint) AS rows, coalesce(s.n_dead_tup, 0) AS dead_rows,
    coalesce(pg_total_relation_size(c.oid), 0) AS bytes, coalesce(pg_relation_size(c.oid), 0) AS heap_bytes,
    CAST(greatest(0, coalesce(pg_relation_size(c.oid), 0) - CASE WHEN w.width IS NULL THEN pg_relation_size(c.oid)
        ELSE c.reltuples * (w.width + 32) * 105 / coalesce(CAST(substring(array_to_string(c.reloptions, ',')
            FROM 'fillfactor=([0-9]+)') AS int), 100) END) AS bigint) AS unused_bytes
FROM pg_class AS c
JOIN pg_class AS t ON t.oid = coalesce(pg_partition_root(c.oid), c.oid)
LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
LEFT JOIN LATERAL (
    SELECT sum((1 - p.null_frac) * p.avg_width) AS width
    FROM pg_stats AS p
    WHERE p.schemaname = 'draftline' AND p.tablename = c.relname AND NOT p.inherited) AS w ON c.reltuples > 0
WHERE c.relnamespace = CAST('draftline' AS regnamespace) AND c.relkind = 'r'
ORDER BY bytes DESC, c.relname

-- name: lock_limit
-- Return how many locks on tables PostgreSQL has room for, on average in each transaction.
SELECT CAST(current_setting('max_locks_per_transaction') AS int) AS lock_limit

-- name: largest_tenants
-- Return the tenants with the most records at their last count.
SELECT u.tenant_id, u.records, u.bytes, u.counted_at
FROM draftline.tenant_usage AS u
ORDER BY u.records DESC, u.tenant_id
LIMIT :limit
