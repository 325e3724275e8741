-- name: keep_order
-- Make later log entries follow all present ones. Return whether that required a change.
SELECT draftline.keep_log_order() AS moved

-- name: read_moment
-- Return the time of the database's clock, which decides what is dropped, because a host's clock may be wrong.
SELECT now() AS moment

-- name: missing_weeks
-- Return the Mondays (UTC) of the weeks that need a partition and have none: the current week, the next ones, and those
-- of changes in change_default.
SELECT w.monday
FROM (
    SELECT CAST(date_trunc('week', CAST(:moment AS timestamptz) AT TIME ZONE 'UTC') AS date) + 7 * n AS monday
    FROM generate_series(0, CAST(:ahead AS integer)) AS n
  UNION
    SELECT CAST(date_trunc('week', created_at AT TIME ZONE 'UTC') AS date) FROM draftline.change_default
) AS w
WHERE NOT EXISTS (
    SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST('draftline.change' AS regclass) AND c.relname = 'change_' || to_char(w.monday, 'YYYYMMDD'))
ORDER BY w.monday

-- name: add_partition
-- Create the partition of a week. Return how many changes it took over from change_default.
SELECT draftline.add_change_partition(CAST(:monday AS date)) AS moved

-- name: drop_oldest
-- Drop the oldest partition if all of it is older than a time. Return its name, or NULL.
SELECT draftline.drop_changes(CAST(:before AS timestamptz)) AS dropped

-- name: forget_answers
-- Delete some of the requests that are too old to be repeated, of all tenants. Return how many.
WITH old AS MATERIALIZED (
    SELECT tenant_id, user_id, request_id FROM draftline.request
    WHERE created_at < CAST(:before AS timestamptz)
    ORDER BY created_at LIMIT :limit
    FOR UPDATE SKIP LOCKED  -- others lock several of them in another order
), dropped AS (
    DELETE FROM draftline.request AS r
    USING old AS o
    WHERE r.tenant_id = o.tenant_id AND r.user_id = o.user_id AND r.request_id = o.request_id
    RETURNING 1
)
SELECT count(*) AS dropped FROM dropped

-- name: open_transactions
-- Return the transactions, of any database of the server, that have written and have run since before a time: watchers
-- see no change that was committed after such a transaction began.
SELECT 'pid ' || pid AS holder, datname AS database, xact_start AS since
FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND xact_start < CAST(:before AS timestamptz)
UNION ALL
SELECT 'prepared ' || gid, database, prepared
FROM pg_prepared_xacts WHERE prepared < CAST(:before AS timestamptz)
ORDER BY since
