-- name: put_statistics
-- Make the statistics of a collection those that its collection spec requires, after put_definition. New ones are to be built,
-- and those that are no longer required are to be deleted.
WITH required AS MATERIALIZED (
    SELECT s.value AS spec, s.value ->> 'name' AS name,
        s.value -> 'keys' AS keys, s.value -> 'measures' AS measures, s.ordinality
    FROM draftline.collection AS c, jsonb_array_elements(c.statistics) WITH ORDINALITY AS s
    WHERE c.tenant_id = :tenant_id AND c.collection = :collection
), dropped AS (
    UPDATE draftline.statistic AS q
    SET state = 'DROPPING'
    WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.state <> 'DROPPING'
      AND (q.state = 'INVALID' OR q.spec NOT IN (SELECT spec FROM required))
)
INSERT INTO draftline.statistic (tenant_id, collection, name, spec, fields, k1_path, k1_type, k2_path, k2_type,
    k3_path, k3_type, m1_path, m2_path, m3_path, m4_path, created_at)
SELECT :tenant_id, :collection, r.name, r.spec, ARRAY(
        SELECT DISTINCT k.value -> 'path' ->> 0 FROM jsonb_array_elements(r.keys) AS k
        UNION SELECT m.value ->> 0 FROM jsonb_array_elements(r.measures) AS m),
    draftline.names(r.keys -> 0 -> 'path'), r.keys -> 0 ->> 'type',
    draftline.names(r.keys -> 1 -> 'path'), r.keys -> 1 ->> 'type',
    draftline.names(r.keys -> 2 -> 'path'), r.keys -> 2 ->> 'type',
    draftline.names(r.measures -> 0), draftline.names(r.measures -> 1),
    draftline.names(r.measures -> 2), draftline.names(r.measures -> 3), CAST(:now AS timestamptz)
FROM required AS r
WHERE r.spec NOT IN (SELECT q.spec FROM draftline.statistic AS q
    WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.state IN ('BUILDING', 'READY'))
ORDER BY r.ordinality

-- name: get_statistics
-- Return the declared statistics of some collections and their states.
SELECT q.collection, q.statistic_id, q.name, q.spec::text AS spec, q.state, q.group_count
FROM draftline.statistic AS q
WHERE q.tenant_id = :tenant_id AND q.collection = ANY (CAST(:collections AS text[])) AND q.state <> 'DROPPING'
ORDER BY q.collection, q.statistic_id

-- name: unready_statistics
-- Return the statistics of all tenants that are to be built or deleted; for the background job and the doctor.
SELECT q.tenant_id, q.collection, q.statistic_id, q.name, q.state
FROM draftline.statistic AS q
WHERE q.state IN ('BUILDING', 'DROPPING')
ORDER BY q.tenant_id, q.collection, q.statistic_id

-- name: statistics_in_state
-- Return the statistics of a collection that are in a state.
SELECT q.statistic_id
FROM draftline.statistic AS q
WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.state = :state
ORDER BY q.statistic_id

-- name: lock_statistic
-- Lock a statistic, so that nothing else builds, folds or deletes its tally; writes and reads do not wait. The statement
-- that follows in the transaction sees all that an earlier holder of the lock did.
SELECT q.state, q.k1_type
FROM draftline.statistic AS q
WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id
FOR UPDATE

-- name: show_build
-- Name the session after the statistic that the transaction builds, the number of records that it has read, and that of all, with
-- deleted ones. count_built updates the name.
SELECT set_config('application_name', concat_ws(' ', 'draftline statistic', CAST(:statistic_id AS bigint), 0, (
    SELECT count(*) FROM draftline.record AS r WHERE r.tenant_id = :tenant_id AND r.collection = :collection)), true)

-- name: get_builds
-- Return how many records the running builds of statistics of some collections have read, and of how many.
SELECT q.statistic_id, CAST(p.parts[2] AS bigint) AS record_count, CAST(p.parts[3] AS bigint) AS record_total
FROM draftline.statistic AS q
JOIN (
    SELECT regexp_match(a.application_name, '^draftline statistic (\d+) (\d{1,15}) (\d{1,15})$') AS parts
    FROM pg_stat_activity AS a
    WHERE a.datname = current_database()
) AS p ON p.parts[1] = CAST(q.statistic_id AS text)
WHERE q.tenant_id = :tenant_id AND q.collection = ANY (CAST(:collections AS text[])) AND q.state = 'BUILDING'

-- name: build_statistic
-- Replace the tally of a statistic, which the transaction has locked, by what all records and drafts contribute, and return
-- the number of groups of the baseline. One statement has one snapshot: what a write has appended is visible exactly if what
-- it wrote is, and is replaced; what it appends later adds to that. All writes that do not know the statistic have ended.
WITH replaced AS (
    DELETE FROM draftline.tally AS t WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id
),
-- include: statistics.all_contributions
,
-- include: statistics.expected_nodes
, built AS (
    INSERT INTO draftline.tally (tenant_id, statistic_id, is_folded, user_id, k1, k2, k3, records, c1, s1, c2, s2, c3, s3,
        c4, s4)
    SELECT :tenant_id, CAST(:statistic_id AS bigint), true, f.*
    FROM expected AS f
    RETURNING user_id, k1
)
SELECT count(*) FILTER (WHERE b.user_id = '' AND (q.k1_type NOT IN ('NUMBER_RANGE', 'DATE_RANGE') OR b.k1 = 'a')) AS groups
FROM built AS b
CROSS JOIN statistics AS q

-- fragment: all_contributions
-- What all records and drafts contribute to a statistic. A build counts the records that it has read; see show_build.
statistics AS MATERIALIZED (
    SELECT q.* FROM draftline.statistic AS q
    WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id
), contributions AS (
    SELECT CAST('' AS text) AS user_id, r.content, 1 AS sign
    FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NULL
      AND CASE WHEN hashtext(r.record_id) & 255 = 0 THEN draftline.count_built(r.record_id) ELSE true END
    UNION ALL
    SELECT d.user_id, d.merged, 1
    FROM draftline.draft AS d
    WHERE d.tenant_id = :tenant_id AND d.collection = :collection AND d.kind <> 'DELETE'
    UNION ALL
    SELECT d.user_id, r.content, -1
    FROM draftline.draft AS d
    JOIN draftline.record AS r
        ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = d.record_id
    WHERE d.tenant_id = :tenant_id AND d.collection = :collection AND d.kind <> 'CREATE' AND r.deleted_at IS NULL
)

-- fragment: expected_nodes
-- The rows that the folded tally of a statistic has, as `expected`: those of a range at each node, of which each level sums up
-- the one below, as draftline.group_nodes names them.
kind AS MATERIALIZED (
    SELECT CASE q.k1_type WHEN 'NUMBER_RANGE' THEN ARRAY[5, 7, 9, 0] WHEN 'DATE_RANGE' THEN ARRAY[5, 6, 7, 0] END AS lengths
    FROM statistics AS q
), leaves AS MATERIALIZED (
    SELECT g.user_id, g.k1 COLLATE "C" AS k1, g.k2 COLLATE "C" AS k2, g.k3 COLLATE "C" AS k3, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3, g.c4, g.s4
    FROM (
        -- include: write_tail.tally_groups
    ) AS g
), fine AS MATERIALIZED (
    SELECT f.user_id, f.k1, f.k2, f.k3,
        -- include: statistics.sums
    FROM (
        SELECT g.user_id, left(g.k1, q.lengths[3]) COLLATE "C" AS k1, g.k2, g.k3, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3,
            g.c4, g.s4
        FROM leaves AS g
        CROSS JOIN kind AS q
        WHERE q.lengths IS NOT NULL
    ) AS f
    GROUP BY f.user_id, f.k1, f.k2, f.k3
    -- include: statistics.having_sums
), middle AS MATERIALIZED (
    SELECT f.user_id, f.k1, f.k2, f.k3,
        -- include: statistics.sums
    FROM (
        SELECT g.user_id, left(g.k1, q.lengths[2]) COLLATE "C" AS k1, g.k2, g.k3, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3,
            g.c4, g.s4
        FROM fine AS g
        CROSS JOIN kind AS q
        WHERE q.lengths IS NOT NULL
    ) AS f
    GROUP BY f.user_id, f.k1, f.k2, f.k3
    -- include: statistics.having_sums
), coarse AS MATERIALIZED (
    SELECT f.user_id, f.k1, f.k2, f.k3,
        -- include: statistics.sums
    FROM (
        SELECT g.user_id, left(g.k1, q.lengths[1]) COLLATE "C" AS k1, g.k2, g.k3, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3,
            g.c4, g.s4
        FROM middle AS g
        CROSS JOIN kind AS q
        WHERE q.lengths IS NOT NULL
    ) AS f
    GROUP BY f.user_id, f.k1, f.k2, f.k3
    -- include: statistics.having_sums
), whole AS MATERIALIZED (
    SELECT f.user_id, f.k1, f.k2, f.k3,
        -- include: statistics.sums
    FROM (
        SELECT g.user_id, left(g.k1, q.lengths[4]) COLLATE "C" AS k1, g.k2, g.k3, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3,
            g.c4, g.s4
        FROM coarse AS g
        CROSS JOIN kind AS q
        WHERE q.lengths IS NOT NULL
    ) AS f
    GROUP BY f.user_id, f.k1, f.k2, f.k3
    -- include: statistics.having_sums
), expected AS (
    SELECT g.user_id, CASE WHEN q.lengths IS NULL THEN g.k1 ELSE 'z' || g.k1 END COLLATE "C" AS k1, g.k2, g.k3, g.records,
        nullif(g.c1, 0) AS c1, nullif(trim_scale(g.s1), 0) AS s1, nullif(g.c2, 0) AS c2, nullif(trim_scale(g.s2), 0) AS s2,
        nullif(g.c3, 0) AS c3, nullif(trim_scale(g.s3), 0) AS s3, nullif(g.c4, 0) AS c4, nullif(trim_scale(g.s4), 0) AS s4
    FROM leaves AS g
    CROSS JOIN kind AS q
    UNION ALL
    SELECT g.user_id, 'd' || g.k1, g.k2, g.k3, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3, g.c4, g.s4 FROM fine AS g
    UNION ALL
    SELECT g.user_id, 'c' || g.k1, g.k2, g.k3, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3, g.c4, g.s4 FROM middle AS g
    UNION ALL
    SELECT g.user_id, 'b' || g.k1, g.k2, g.k3, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3, g.c4, g.s4 FROM coarse AS g
    UNION ALL
    SELECT g.user_id, 'a', g.k2, g.k3, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3, g.c4, g.s4 FROM whole AS g
)

-- fragment: sums
-- The sums of rows `f` of a tally, NULL instead of zero.
sum(f.records) AS records, nullif(sum(f.c1), 0) AS c1, nullif(trim_scale(sum(f.s1)), 0) AS s1,
nullif(sum(f.c2), 0) AS c2, nullif(trim_scale(sum(f.s2)), 0) AS s2, nullif(sum(f.c3), 0) AS c3,
nullif(trim_scale(sum(f.s3)), 0) AS s3, nullif(sum(f.c4), 0) AS c4, nullif(trim_scale(sum(f.s4)), 0) AS s4

-- fragment: having_sums
-- Whether the sums are not all zero.
HAVING sum(f.records) <> 0 OR sum(f.c1) <> 0 OR sum(f.s1) <> 0 OR sum(f.c2) <> 0 OR sum(f.s2) <> 0
    OR sum(f.c3) <> 0 OR sum(f.s3) <> 0 OR sum(f.c4) <> 0 OR sum(f.s4) <> 0

-- name: use_more_memory
-- Let the statements of the transaction sort and hash a million groups in memory.
SELECT set_config('work_mem', '64MB', true)

-- name: use_indexes
-- Plan the statements of the transaction without sequential scans, which look cheap for a table that was small or has not been
-- analyzed.
SELECT set_config('enable_seqscan', 'off', true)

-- name: finish_statistic
-- Store that a statistic, which the transaction has locked, is built.
UPDATE draftline.statistic AS q
SET state = CAST(:state AS text), group_count = :groups, ready_at = CAST(:now AS timestamptz),
    folded_at = CAST(:now AS timestamptz)
WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id
  AND q.state = 'BUILDING'

-- name: check_statistic
-- Return the groups whose tally differs from what records and drafts contribute, in one snapshot; no row: the tally is exact.
WITH
-- include: statistics.all_contributions
,
-- include: statistics.expected_nodes
, stored AS (
    SELECT f.user_id, f.k1, f.k2, f.k3,
        -- include: statistics.sums
    FROM (
        SELECT t.user_id, n.k1 COLLATE "C" AS k1, t.k2, t.k3, t.records, t.c1, t.s1, t.c2, t.s2, t.c3, t.s3, t.c4, t.s4
        FROM draftline.tally AS t
        CROSS JOIN statistics AS q
        CROSS JOIN LATERAL unnest(CASE WHEN t.is_folded THEN ARRAY[t.k1] ELSE draftline.group_nodes(t.k1, q.k1_type) END)
            AS n (k1)
        WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id
          AND (t.is_folded OR t.log_xact >= q.folded_before OR t.log_xact = ANY (q.unfolded_xacts))
    ) AS f
    GROUP BY f.user_id, f.k1, f.k2, f.k3
    -- include: statistics.having_sums
)
SELECT d.user_id, d.k1, d.k2, d.k3
FROM (
    (SELECT * FROM expected EXCEPT SELECT * FROM stored) UNION ALL (SELECT * FROM stored EXCEPT SELECT * FROM expected)
) AS d
GROUP BY d.user_id, d.k1, d.k2, d.k3
LIMIT :limit

-- name: fold_tally
-- Add some of the rows that writes have appended to the tally of a statistic, which the transaction has locked, to the sums of
-- their groups. Readers see either the rows or the sums. Return how many rows that were, and the log positions of the
-- transactions that may still append rows: those from `pending_from` on, and `pending`. The sums are read by their index: a
-- tally may have many, of many users and of the nodes of a range.
WITH appended AS MATERIALIZED (
    SELECT d.*
    FROM draftline.delete_tally_rows(:tenant_id, CAST(:statistic_id AS bigint), ARRAY(
        SELECT u.location
        FROM (
            SELECT t.ctid AS location FROM draftline.tally AS t
            WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND NOT t.is_folded
              AND CASE WHEN t.is_folded THEN 0 ELSE t.log_xact END >= (SELECT q.folded_before
                  FROM draftline.statistic AS q
                  WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id)
            UNION ALL
            SELECT t.ctid FROM draftline.tally AS t
            WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND NOT t.is_folded
              AND CASE WHEN t.is_folded THEN 0 ELSE t.log_xact END = ANY (CAST((SELECT q.unfolded_xacts
                  FROM draftline.statistic AS q
                  WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id) AS bigint[]))
        ) AS u
        LIMIT :limit)) AS d
), nodes AS MATERIALIZED (
    SELECT f.user_id, n.k1 COLLATE "C" AS k1, f.k2, f.k3,
        -- include: statistics.sums
    FROM appended AS f
    CROSS JOIN LATERAL unnest(draftline.group_nodes(f.k1, CAST(:k1_type AS text))) AS n (k1)
    GROUP BY f.user_id, n.k1, f.k2, f.k3
), stored AS (
    SELECT o.*
    FROM (SELECT DISTINCT n.user_id, n.k1 FROM nodes AS n) AS n
    CROSS JOIN LATERAL (  -- by the index, whatever the planner knows of the table
        SELECT t.ctid AS location, t.user_id, t.k1, t.k2, t.k3
        FROM draftline.tally AS t
        WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND t.is_folded
          AND t.user_id = n.user_id AND CASE WHEN t.is_folded THEN 0 ELSE t.log_xact END = 0 AND t.k1 = n.k1
        UNION ALL
        SELECT t.ctid, t.user_id, t.k1, t.k2, t.k3
        FROM draftline.tally AS t
        WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND t.is_folded
          AND t.user_id = n.user_id AND CASE WHEN t.is_folded THEN 0 ELSE t.log_xact END = 0 AND t.k1 IS NULL AND n.k1 IS NULL
        OFFSET 0
    ) AS o
), replaced AS MATERIALIZED (
    SELECT d.*
    FROM draftline.delete_tally_rows(:tenant_id, CAST(:statistic_id AS bigint), ARRAY(
        -- The stored rows of the nodes: grouped and not joined, because the planner expects few nodes, and a nested loop over
        -- thousands takes hours.
        SELECT unnest(array_agg(o.location) FILTER (WHERE o.location IS NOT NULL))
        FROM (
            SELECT n.user_id, n.k1, n.k2, n.k3, CAST(NULL AS tid) AS location FROM nodes AS n
            UNION ALL
            SELECT s.user_id, s.k1, s.k2, s.k3, s.location FROM stored AS s
        ) AS o
        GROUP BY o.user_id, o.k1, o.k2, o.k3
        HAVING bool_or(o.location IS NULL)
    )) AS d
), summed AS (
    INSERT INTO draftline.tally (tenant_id, statistic_id, is_folded, user_id, k1, k2, k3, records, c1, s1, c2, s2, c3, s3,
        c4, s4)
    SELECT :tenant_id, CAST(:statistic_id AS bigint), true, f.user_id, f.k1, f.k2, f.k3,
        -- include: statistics.sums
    FROM (
        SELECT * FROM nodes
        UNION ALL
        SELECT * FROM replaced
    ) AS f
    GROUP BY f.user_id, f.k1, f.k2, f.k3
    -- include: statistics.having_sums
)
SELECT (SELECT count(*) FROM appended) AS folded, h.ahead + pg_snapshot_xmax(h.snapshot)::text::bigint AS pending_from,
    ARRAY(SELECT h.ahead + x::text::bigint FROM pg_snapshot_xip(h.snapshot) AS x) AS pending
FROM (
    SELECT s.snapshot, draftline.log_horizon() - pg_snapshot_xmin(s.snapshot)::text::bigint AS ahead
    FROM (SELECT pg_current_snapshot() AS snapshot) AS s
) AS h

-- name: read_all_appended
-- Let reads of a statistic, which the transaction has locked, skip no appended rows until it is folded.
UPDATE draftline.statistic AS q
SET folded_before = 0, unfolded_xacts = '{}'
WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id

-- name: finish_fold
-- Store that a statistic, which the transaction has locked, is folded, and the number of groups of the baseline.
UPDATE draftline.statistic AS q
SET folded_before = coalesce(CAST(:pending_from AS bigint), q.folded_before),
    unfolded_xacts = coalesce(CAST(:pending AS bigint[]), q.unfolded_xacts),
    folded_at = CAST(:now AS timestamptz), group_count = (
    SELECT count(*) FROM draftline.tally AS t
    WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND t.is_folded AND t.user_id = ''
      AND CASE WHEN t.is_folded THEN 0 ELSE t.log_xact END = 0
      AND (CAST(:node AS text) IS NULL OR t.k1 = CAST(:node AS text)))
WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id

-- name: unfolded_statistics
-- Return the statistics of all tenants that are READY or INVALID, how many rows writes have appended to each since its last
-- fold, counted up to a limit, and the seconds since then; for the background job and the doctor.
SELECT q.tenant_id, q.collection, q.statistic_id, q.name, q.state, q.group_count, t.rows,
    CAST(extract(epoch FROM now() - coalesce(q.folded_at, q.ready_at, q.created_at)) AS float8) AS age_s
FROM draftline.statistic AS q
CROSS JOIN LATERAL (
    SELECT count(*) AS rows
    FROM (
        SELECT FROM draftline.tally AS t
        WHERE t.tenant_id = q.tenant_id AND t.statistic_id = q.statistic_id AND NOT t.is_folded
          AND CASE WHEN t.is_folded THEN 0 ELSE t.log_xact END >= q.folded_before
        UNION ALL
        SELECT FROM draftline.tally AS t
        WHERE t.tenant_id = q.tenant_id AND t.statistic_id = q.statistic_id AND NOT t.is_folded
          AND CASE WHEN t.is_folded THEN 0 ELSE t.log_xact END = ANY (q.unfolded_xacts)
        LIMIT :limit
    ) AS u
) AS t
WHERE q.state IN ('READY', 'INVALID')
ORDER BY q.tenant_id, q.collection, q.statistic_id

-- name: delete_tally
-- Delete some rows of a statistic's tally. Return how many.
SELECT count(*) AS count
FROM draftline.delete_tally_rows(:tenant_id, CAST(:statistic_id AS bigint), ARRAY(
    SELECT u.ctid FROM draftline.tally AS u
    WHERE u.tenant_id = :tenant_id AND u.statistic_id = :statistic_id LIMIT :limit)) AS d

-- name: delete_statistic
-- Delete a statistic whose tally is deleted.
DELETE FROM draftline.statistic AS q
WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id
  AND q.state = 'DROPPING'

-- name: ready_statistics
-- Return the statistics of all tenants whose tallies are complete; for the checker only.
SELECT q.tenant_id, q.collection, q.statistic_id
FROM draftline.statistic AS q
WHERE q.state = 'READY'
ORDER BY q.tenant_id, q.collection, q.statistic_id

-- fragment: is_ready
-- Return whether a statistic may still be read.
SELECT EXISTS (SELECT FROM draftline.statistic AS q WHERE q.tenant_id = :tenant_id AND q.collection = :collection
    AND q.statistic_id = :statistic_id AND q.state = 'READY') AS is_ready

-- fragment: tally_rows
-- The tally of a statistic: the rows of the baseline and of the caller. A record that exists under a draft of the caller that
-- creates it is not part of the caller's merged view, and no write tallies that.
SELECT t.k1, t.k2, t.k3, t.user_id <> '' AS is_own, t.records, t.c1, t.s1, t.c2, t.s2, t.c3, t.s3, t.c4, t.s4
FROM draftline.tally AS t
WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND t.is_folded AND t.user_id IN ('', :user_id)
UNION ALL
-- include: statistics.appended_rows
UNION ALL
-- include: statistics.created_rows

-- fragment: appended_rows
-- The rows that writes have appended and that are not folded. The index skips those that were folded: there may be many as long
-- as an old snapshot keeps vacuum from removing them.
SELECT t.k1, t.k2, t.k3, t.user_id <> '' AS is_own, t.records, t.c1, t.s1, t.c2, t.s2, t.c3, t.s3, t.c4, t.s4
FROM draftline.tally AS t
WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND NOT t.is_folded AND t.user_id IN ('', :user_id)
  AND CASE WHEN t.is_folded THEN 0 ELSE t.log_xact END >= (SELECT q.folded_before
      FROM draftline.statistic AS q
      WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id)
UNION ALL
SELECT t.k1, t.k2, t.k3, t.user_id <> '' AS is_own, t.records, t.c1, t.s1, t.c2, t.s2, t.c3, t.s3, t.c4, t.s4
FROM draftline.tally AS t
WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND NOT t.is_folded AND t.user_id IN ('', :user_id)
  AND CASE WHEN t.is_folded THEN 0 ELSE t.log_xact END = ANY (CAST((SELECT q.unfolded_xacts
      FROM draftline.statistic AS q
      WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id) AS bigint[]))

-- fragment: created_rows
-- The records that exist under drafts of the caller which create them: they are not part of the merged view.
SELECT g.k1 COLLATE "C", g.k2 COLLATE "C", g.k3 COLLATE "C", true, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3, g.c4, g.s4
FROM (
    WITH statistics AS MATERIALIZED (
        SELECT q.* FROM draftline.statistic AS q
        WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id
    ), contributions AS (
        SELECT CAST(:user_id AS text) AS user_id, r.content, -1 AS sign
        FROM draftline.draft AS d
        CROSS JOIN LATERAL (  -- each record by its key, whatever the planner knows of the tables
            SELECT r.content
            FROM draftline.record AS r
            WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = d.record_id
              AND r.deleted_at IS NULL
            OFFSET 0
        ) AS r
        WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection AND d.kind = 'CREATE'
    )
    -- include: write_tail.tally_groups
) AS g

-- fragment: range_rows
-- The tally of a statistic of a range, with the part of the range that counts a row in the place of its first key. nodes: the
-- nodes that make up the parts, as ranges of keys, and the part of each; parts: the sort keys of the values of each part, for
-- rows that are not folded.
SELECT n.part AS k1, t.k2, t.k3, t.is_own, t.records, t.c1, t.s1, t.c2, t.s2, t.c3, t.s3, t.c4, t.s4
FROM unnest(CAST(:node_parts AS text[]), CAST(:nodes_from AS text[]), CAST(:nodes_to AS text[])) AS n (part, low, high)
CROSS JOIN LATERAL (
    SELECT t.user_id <> '' AS is_own, t.*
    FROM draftline.tally AS t
    WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND t.is_folded AND t.user_id IN ('', :user_id)
      AND CASE WHEN t.is_folded THEN 0 ELSE t.log_xact END = 0 AND t.k1 >= n.low COLLATE "C" AND t.k1 < n.high COLLATE "C"
    OFFSET 0
) AS t
UNION ALL
SELECT p.part, t.k2, t.k3, t.is_own, t.records, t.c1, t.s1, t.c2, t.s2, t.c3, t.s3, t.c4, t.s4
FROM (
    -- include: statistics.appended_rows
    UNION ALL
    -- include: statistics.created_rows
) AS t
JOIN unnest(CAST(:parts AS text[]), CAST(:parts_from AS text[]), CAST(:parts_to AS text[])) AS p (part, low, high)
    ON t.k1 >= p.low COLLATE "C" AND t.k1 < p.high COLLATE "C"

-- fragment: scanned_rows
-- The same rows from all records and all drafts of the caller, for a query that no statistic covers.
SELECT g.k1 COLLATE "C" AS k1, g.k2 COLLATE "C" AS k2, g.k3 COLLATE "C" AS k3, g.user_id <> '' AS is_own, g.records,
    g.c1, g.s1, g.c2, g.s2, g.c3, g.s3, g.c4, g.s4
FROM (
    WITH statistics AS MATERIALIZED (
        SELECT CAST(:statistic_id AS bigint) AS statistic_id, CAST(:k1_path AS text[]) AS k1_path,
            CAST(:k1_type AS text) AS k1_type, CAST(:k2_path AS text[]) AS k2_path, CAST(:k2_type AS text) AS k2_type,
            CAST(:k3_path AS text[]) AS k3_path, CAST(:k3_type AS text) AS k3_type,
            CAST(:m1_path AS text[]) AS m1_path, CAST(:m2_path AS text[]) AS m2_path,
            CAST(:m3_path AS text[]) AS m3_path, CAST(:m4_path AS text[]) AS m4_path
    ), contributions AS (
        SELECT CAST('' AS text) AS user_id, r.content, 1 AS sign
        FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NULL
        UNION ALL
        SELECT d.user_id, v.content, v.sign
        FROM draftline.draft AS d
        LEFT JOIN draftline.record AS r
            ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = d.record_id
        CROSS JOIN LATERAL (VALUES (CASE WHEN d.kind <> 'DELETE' THEN d.merged END, 1),
            (CASE WHEN r.deleted_at IS NULL THEN r.content END, -1)) AS v (content, sign)
        WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection AND v.content IS NOT NULL
    )
    -- include: write_tail.tally_groups
) AS g
