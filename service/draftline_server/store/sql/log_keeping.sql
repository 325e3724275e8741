-- name: keep_order
-- Lets what is written from now on stand behind all that the log holds; whether that took a change.
SELECT draftline.keep_log_order() AS moved

-- name: try_lock_log
-- One process at a time; the lock ends with the connection.
SELECT pg_try_advisory_lock(7236835714) AS locked

-- name: read_moment
-- The time by the database's clock, which decides what is dropped: that of no host that may be wrong.
SELECT now() AS moment

-- name: missing_weeks
-- The Mondays (UTC) of weeks without a partition that need one: a moment's, the next ones', and those of changes that
-- fell into change_default.
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
-- Makes the partition of a week; how many changes it took over from change_default.
SELECT draftline.add_change_partition(CAST(:monday AS date)) AS moved

-- name: drop_oldest
-- Drops the oldest partition if all of it is older than a moment; its name, or NULL.
SELECT draftline.drop_changes(CAST(:before AS timestamptz)) AS dropped

-- name: forget_answers
-- Drops some of the requests that will not be sent again; how many. Of all tenants, as all that is done here.
WITH old AS MATERIALIZED (
    SELECT tenant_id, user_id, request_id FROM draftline.request
    WHERE created_at < CAST(:before AS timestamptz)
    ORDER BY created_at LIMIT :limit
    FOR UPDATE SKIP LOCKED  -- who has several of them locked, has them in another order
), dropped AS (
    DELETE FROM draftline.request AS r
    USING old AS o
    WHERE r.tenant_id = o.tenant_id AND r.user_id = o.user_id AND r.request_id = o.request_id
    RETURNING 1
)
SELECT count(*) AS dropped FROM dropped

-- name: open_transactions
-- The transactions, of any database here, that have written and run since before a moment: no change that was
-- committed after they began is shown to watchers.
SELECT 'pid ' || pid AS holder, datname AS database, xact_start AS since
FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND xact_start < CAST(:before AS timestamptz)
UNION ALL
SELECT 'prepared ' || gid, database, prepared
FROM pg_prepared_xacts WHERE prepared < CAST(:before AS timestamptz)
ORDER BY since
