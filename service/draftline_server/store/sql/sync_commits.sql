-- The records of commits, for a sync that sends a commit as one batch.

-- fragment: last_sent
-- For the record of each `p`: its row of sync_record `s`, the record `r`, and `c`, the last change that the sync sends. Look-ups
-- by key, whatever the planner knows of the tables.
LEFT JOIN LATERAL (
    SELECT s.attempt_id, s.seen_version FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = p.record_id
    OFFSET 0) AS s ON true
LEFT JOIN LATERAL (
    SELECT r.version, r.acked_version FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
    OFFSET 0) AS r ON true
LEFT JOIN LATERAL (
    SELECT l.commit_id, l.version FROM draftline.change AS l
    WHERE l.tenant_id = :tenant_id AND l.collection = :collection AND l.record_id = p.record_id
      AND l.version <= CASE WHEN s.attempt_id IS NULL THEN r.version ELSE s.seen_version END
      AND l.kind <> 'DRAFT' AND l.source <> 'SYNC_PULL'
    ORDER BY l.version DESC
    LIMIT 1) AS c ON true

-- name: members
-- Return the records of a collection that wait with the given ones, because the same commit changed them last: for each record
-- its commit, and whether the commit changed more than `size` records of the collection. Commits are in the order in which
-- their first record is given. Changes by pulls do not count, and a record with an attempt belongs to the commit that the
-- attempt sends. `is_blocked`: the commit changed the record last, and an attempt for an earlier one is out. `is_replaced`: a
-- later commit, of the newest 100 changes of each record, changed both a record of which an attempt for this one is out and a
-- record of this one of which none is.
WITH given AS MATERIALIZED (
    SELECT p.index, c.commit_id
    FROM unnest(CAST(:record_ids AS text[])) WITH ORDINALITY AS p (record_id, index)
    -- include: sync_commits.last_sent
    WHERE c.commit_id IS NOT NULL
), commits AS MATERIALIZED (
    SELECT g.commit_id, min(g.index) AS index FROM given AS g GROUP BY g.commit_id
), written AS MATERIALIZED (
    SELECT k.commit_id, k.index, l.record_id, l.version, count(*) OVER (PARTITION BY k.commit_id) > CAST(:size AS int) AS is_large
    FROM commits AS k
    CROSS JOIN LATERAL (
        SELECT l.record_id, l.version FROM draftline.change AS l
        WHERE l.tenant_id = :tenant_id AND l.commit_id = k.commit_id AND l.collection = :collection
          AND l.kind NOT IN ('DRAFT', 'PURGE')
        LIMIT CAST(:size AS int) + 1) AS l
), known AS MATERIALIZED (
    SELECT p.*, c.version AS sent_version, s.attempt_id IS NOT NULL AS is_out,
        s.attempt_id IS NOT NULL AND c.version = p.version AS is_out_for_it,
        r.version > coalesce(r.acked_version, 0) AS is_behind, n.later_ids
    FROM written AS p
    -- include: sync_commits.last_sent
    LEFT JOIN LATERAL (
        SELECT array_agg(l.commit_id) AS later_ids
        FROM (
            SELECT l.commit_id FROM draftline.change AS l
            WHERE l.tenant_id = :tenant_id AND l.collection = :collection AND l.record_id = p.record_id
              AND l.version > p.version AND l.version <= r.version AND l.kind <> 'DRAFT' AND l.source <> 'SYNC_PULL'
            ORDER BY l.version DESC
            LIMIT 100) AS l) AS n ON true
), replaced AS MATERIALIZED (
    SELECT k.commit_id FROM known AS k
    CROSS JOIN unnest(k.later_ids) AS n (later_id)
    WHERE n.later_id <> k.commit_id
    GROUP BY k.commit_id, n.later_id
    HAVING bool_or(k.is_out_for_it) AND NOT bool_and(k.is_out_for_it)
)
SELECT k.commit_id::text AS commit_id, k.record_id, k.is_large, k.version > k.sent_version AS is_blocked,
    k.commit_id IN (SELECT r.commit_id FROM replaced AS r) AS is_replaced
FROM known AS k
WHERE k.version = k.sent_version AND (k.is_out OR k.is_behind)
   OR k.version > k.sent_version AND k.is_out AND k.later_ids IS NULL
ORDER BY k.index, k.record_id

-- name: hasten
-- Make records due that wait for others of their commit, or whose attempt is to be repeated later.
WITH waiting AS MATERIALIZED (
    SELECT s.record_id FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = ANY (CAST(:record_ids AS text[]))
      AND s.next_at > CAST(:now AS timestamptz) AND (s.state = 'DUE' OR s.state = 'SENDING' AND s.in_doubt)
    ORDER BY s.record_id
    FOR UPDATE
)
UPDATE draftline.sync_record AS s SET next_at = CAST(:now AS timestamptz)
FROM waiting AS w
WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = w.record_id
  AND s.record_id = ANY (CAST(:record_ids AS text[]))
