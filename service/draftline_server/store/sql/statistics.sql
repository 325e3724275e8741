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
SELECT q.tenant_id, q.collection, q.statistic_id, q.state
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
SELECT q.state
FROM draftline.statistic AS q
WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id
FOR UPDATE

-- name: build_statistic
-- Replace the tally of a statistic, which the transaction has locked, by what all records and drafts contribute, and return
-- the number of groups of the baseline. One statement has one snapshot: what a write has appended is visible exactly if what
-- it wrote is, and is replaced; what it appends later adds to that. All writes that do not know the statistic have ended.
WITH statistics AS MATERIALIZED (
    SELECT q.* FROM draftline.statistic AS q
    WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id
), replaced AS (
    DELETE FROM draftline.tally AS t WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id
), contributions AS (
    SELECT CAST('' AS text) AS user_id, r.content, 1 AS sign
    FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NULL
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
),
-- include: write_tail.append_tally
SELECT count(*) FILTER (WHERE user_id = '') AS groups FROM tallied

-- name: finish_statistic
-- Store that a statistic, which the transaction has locked, is built.
UPDATE draftline.statistic AS q
SET state = CAST(:state AS text), group_count = :groups, ready_at = CAST(:now AS timestamptz)
WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id
  AND q.state = 'BUILDING'

-- name: check_statistic
-- Return the groups whose tally differs from what records and drafts contribute, in one snapshot; no row: the tally is exact.
WITH statistics AS MATERIALIZED (
    SELECT q.* FROM draftline.statistic AS q
    WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id
), contributions AS (
    SELECT CAST('' AS text) AS user_id, r.content, 1 AS sign
    FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NULL
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
), expected AS (
    SELECT g.user_id, g.k1, g.k2, g.k3, g.records, coalesce(g.c1, 0) AS c1, coalesce(g.s1, 0) AS s1,
        coalesce(g.c2, 0) AS c2, coalesce(g.s2, 0) AS s2, coalesce(g.c3, 0) AS c3, coalesce(g.s3, 0) AS s3,
        coalesce(g.c4, 0) AS c4, coalesce(g.s4, 0) AS s4
    FROM (
        -- include: write_tail.tally_groups
    ) AS g
), stored AS (
    SELECT t.user_id, t.k1, t.k2, t.k3, sum(t.records) AS records, coalesce(sum(t.c1), 0) AS c1,
        coalesce(sum(t.s1), 0) AS s1, coalesce(sum(t.c2), 0) AS c2, coalesce(sum(t.s2), 0) AS s2,
        coalesce(sum(t.c3), 0) AS c3, coalesce(sum(t.s3), 0) AS s3, coalesce(sum(t.c4), 0) AS c4,
        coalesce(sum(t.s4), 0) AS s4
    FROM draftline.tally AS t
    WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id
    GROUP BY t.user_id, t.k1, t.k2, t.k3
    HAVING sum(t.records) <> 0 OR sum(t.c1) <> 0 OR sum(t.s1) <> 0 OR sum(t.c2) <> 0 OR sum(t.s2) <> 0
        OR sum(t.c3) <> 0 OR sum(t.s3) <> 0 OR sum(t.c4) <> 0 OR sum(t.s4) <> 0
)
SELECT d.user_id, d.k1, d.k2, d.k3
FROM (
    (SELECT * FROM expected EXCEPT SELECT * FROM stored) UNION ALL (SELECT * FROM stored EXCEPT SELECT * FROM expected)
) AS d
GROUP BY d.user_id, d.k1, d.k2, d.k3
LIMIT :limit

-- name: fold_tally
-- Replace the rows of each group of a statistic, which the transaction has locked, by one that is their sum. Readers see
-- either the rows or the sum. Return how many rows were replaced.
WITH split AS MATERIALIZED (
    SELECT t.ctid AS location, count(*) OVER (PARTITION BY t.user_id, t.k1, t.k2, t.k3) AS rows
    FROM draftline.tally AS t
    WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id
), folded AS (
    DELETE FROM draftline.tally AS t
    USING split AS s
    WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND t.ctid = s.location AND s.rows > 1
    RETURNING t.*
), summed AS (
    INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, k2, k3, records, c1, s1, c2, s2, c3, s3, c4, s4)
    SELECT :tenant_id, CAST(:statistic_id AS bigint), f.user_id, f.k1, f.k2, f.k3, sum(f.records),
        nullif(sum(f.c1), 0), nullif(trim_scale(sum(f.s1)), 0), nullif(sum(f.c2), 0), nullif(trim_scale(sum(f.s2)), 0),
        nullif(sum(f.c3), 0), nullif(trim_scale(sum(f.s3)), 0), nullif(sum(f.c4), 0), nullif(trim_scale(sum(f.s4)), 0)
    FROM folded AS f
    GROUP BY f.user_id, f.k1, f.k2, f.k3
    HAVING sum(f.records) <> 0 OR sum(f.c1) <> 0 OR sum(f.s1) <> 0 OR sum(f.c2) <> 0 OR sum(f.s2) <> 0
        OR sum(f.c3) <> 0 OR sum(f.s3) <> 0 OR sum(f.c4) <> 0 OR sum(f.s4) <> 0
)
SELECT count(*) AS folded FROM folded

-- name: split_statistics
-- Return the statistics of all tenants whose tallies have many rows that can be folded; for the background job and the doctor.
SELECT q.tenant_id, q.collection, q.statistic_id, t.rows, t.groups
FROM draftline.statistic AS q
CROSS JOIN LATERAL (
    SELECT coalesce(sum(g.rows), 0)::bigint AS rows, count(*) AS groups
    FROM (SELECT count(*) AS rows FROM draftline.tally AS t
        WHERE t.tenant_id = q.tenant_id AND t.statistic_id = q.statistic_id
        GROUP BY t.user_id, t.k1, t.k2, t.k3) AS g
) AS t
WHERE q.state = 'READY' AND t.rows - t.groups > greatest(:most, t.groups / 4)
ORDER BY q.tenant_id, q.collection, q.statistic_id

-- name: delete_tally
-- Delete some rows of a statistic's tally. Return how many.
WITH deleted AS (
    DELETE FROM draftline.tally AS t
    WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND t.ctid = ANY (ARRAY(
        SELECT u.ctid FROM draftline.tally AS u
        WHERE u.tenant_id = :tenant_id AND u.statistic_id = :statistic_id LIMIT :limit))
    RETURNING 1
)
SELECT count(*) AS count FROM deleted

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
WHERE t.tenant_id = :tenant_id AND t.statistic_id = :statistic_id AND t.user_id IN ('', :user_id)
UNION ALL
SELECT g.k1 COLLATE "C", g.k2 COLLATE "C", g.k3 COLLATE "C", true, g.records, g.c1, g.s1, g.c2, g.s2, g.c3, g.s3, g.c4, g.s4
FROM (
    WITH statistics AS MATERIALIZED (
        SELECT q.* FROM draftline.statistic AS q
        WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.statistic_id = :statistic_id
    ), contributions AS (
        SELECT CAST(:user_id AS text) AS user_id, r.content, -1 AS sign
        FROM draftline.draft AS d
        JOIN draftline.record AS r
            ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = d.record_id
        WHERE d.tenant_id = :tenant_id AND d.user_id = :user_id AND d.collection = :collection AND d.kind = 'CREATE'
          AND r.deleted_at IS NULL
    )
    -- include: write_tail.tally_groups
) AS g

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
