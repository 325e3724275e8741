-- The sync states of records, for calls.

-- fragment: shown
-- The state of a record as it is shown.
CASE WHEN s.state IN ('FAILED', 'HELD') THEN 'SYNC_ERROR'
     WHEN s.state = 'SENDING' THEN 'SYNCING'
     WHEN s.state = 'DUE' OR r.version > coalesce(r.acked_version, 0) THEN 'COMMITTED'
     WHEN starts_with(r.updated_by, 'sync:') THEN 'PRISTINE'
     ELSE 'SYNCED' END

-- fragment: current_conflicts
-- The conflicts of a record, with the values here as they are at the version that is returned with them. Conflicts are stored
-- by merges, and a commit after the last one changes a value without a merge.
CASE WHEN s.state = 'HELD' AND r.record_id IS NOT NULL THEN (
    SELECT coalesce(jsonb_agg(CASE WHEN m.mine IS NULL THEN c.conflict - 'mine'
        ELSE c.conflict || jsonb_build_object('mine', m.mine) END ORDER BY c.index), '[]')
    FROM jsonb_array_elements(s.conflicts) WITH ORDINALITY AS c (conflict, index)
    CROSS JOIN LATERAL (SELECT ARRAY(SELECT jsonb_array_elements_text(c.conflict -> 'at')) AS at OFFSET 0) AS p
    CROSS JOIN LATERAL (
        SELECT CASE WHEN s.recheck IS NULL AND r.version <= coalesce(s.seen_version, 0) THEN c.conflict -> 'mine'
            WHEN r.deleted_at IS NOT NULL THEN NULL
            WHEN cardinality(p.at) = 0 THEN r.content ELSE draftline.member_at(r.content, p.at) END AS mine OFFSET 0) AS m
    ) ELSE s.conflicts END

-- name: list_records
-- Return the records of a collection that are not synced, by record id; of one shown state if one is given.
SELECT s.record_id,
    -- include: sync_records.shown
    AS shown, s.remote_id, s.remote_version, s.error::text AS error, (
    -- include: sync_records.current_conflicts
    )::text AS conflicts, s.tries,
    s.next_at, s.due_since, coalesce(r.acked_version, 0) AS acked_version, coalesce(r.version, 0) AS version, s.in_doubt
FROM draftline.sync_record AS s
LEFT JOIN draftline.record AS r ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.state <> 'IDLE' AND s.record_id > :after
  AND (CAST(:states AS text[]) IS NULL OR s.state = ANY (CAST(:states AS text[])))
ORDER BY s.record_id
LIMIT :limit

-- name: count_commit
-- Return how many records of bound collections that a commit wrote are in each state, and since when the oldest waits. A
-- commit may have written any number of records, and each is looked up by key.
SELECT count(*) FILTER (WHERE o.shown = 'COMMITTED') AS committed, count(*) FILTER (WHERE o.shown = 'SYNCING') AS syncing,
    count(*) FILTER (WHERE o.shown = 'SYNC_ERROR' AND NOT o.is_held) AS failed,
    count(*) FILTER (WHERE o.shown = 'SYNC_ERROR' AND o.is_held) AS conflicts,
    count(*) FILTER (WHERE o.shown = 'SYNCED') AS synced, min(o.due_since) FILTER (WHERE o.shown <> 'SYNCED') AS due_since
FROM (
    SELECT s.due_since, coalesce(s.conflicts <> '[]', false) AS is_held,
        CASE WHEN s.state IN ('FAILED', 'HELD') THEN 'SYNC_ERROR'
             WHEN r.record_id IS NULL AND NOT coalesce(s.is_there, false) THEN 'SYNCED'
             WHEN c.version <= coalesce(r.acked_version, 0) THEN 'SYNCED'
             WHEN s.state = 'SENDING' THEN 'SYNCING'
             ELSE 'COMMITTED' END AS shown
    FROM draftline.change AS c
    JOIN draftline.sync_collection AS b ON b.tenant_id = :tenant_id AND b.collection = c.collection
    LEFT JOIN LATERAL (
        SELECT r.record_id, r.acked_version FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = c.collection AND r.record_id = c.record_id
        LIMIT 1) AS r ON true
    LEFT JOIN LATERAL (
        SELECT s.state, s.is_there, s.conflicts, s.due_since FROM draftline.sync_record AS s
        WHERE s.tenant_id = :tenant_id AND s.collection = c.collection AND s.record_id = c.record_id
        LIMIT 1) AS s ON true
    WHERE c.tenant_id = :tenant_id AND c.commit_id = CAST(:commit_id AS uuid) AND c.kind NOT IN ('DRAFT', 'PURGE')
) AS o

-- name: count_states
-- Return how many records of a sync's collections are in each state, and since when the oldest is due. `unread`: those that
-- are due by changes that no worker has read from the log yet; every record is counted once. Of these changes and those by
-- pulls, the first :limit are read, in equal parts of the collections that have any.
WITH bound AS MATERIALIZED (
    SELECT c.collection, c.pulled_at, c.snapshot_at, c.created_at, u.log_xact, u.change_id, h.is_behind
    FROM draftline.sync_collection AS c
    JOIN draftline.sync_upstream AS u ON u.tenant_id = c.tenant_id AND u.upstream = c.upstream
    LEFT JOIN LATERAL (
        SELECT true AS is_behind FROM draftline.change AS h
        WHERE h.tenant_id = :tenant_id AND h.collection = c.collection AND h.kind <> 'DRAFT'
          AND (h.log_xact, h.change_id) > (u.log_xact, u.change_id) AND coalesce((u.config ->> 'push')::boolean, true)
        ORDER BY h.log_xact, h.change_id
        LIMIT 1) AS h ON true
    WHERE c.tenant_id = :tenant_id AND c.upstream = :upstream
)
SELECT c.collection, n.state, n.count, n.oldest, n.in_doubt, c.pulled_at, c.snapshot_at, l.unread,
    greatest(l.unread_since, c.created_at) AS unread_since
FROM bound AS c
LEFT JOIN LATERAL (
    SELECT count(*) AS unread, min(e.created_at) AS unread_since
    FROM (
        SELECT f.record_id, min(f.created_at) AS created_at
        FROM (
            SELECT h.record_id, h.created_at, h.source FROM draftline.change AS h
            WHERE h.tenant_id = :tenant_id AND h.collection = c.collection AND h.kind <> 'DRAFT' AND c.is_behind
              AND (h.log_xact, h.change_id) > (c.log_xact, c.change_id)
            ORDER BY h.log_xact, h.change_id
            LIMIT greatest(CAST(:limit AS bigint) / (SELECT nullif(count(b.is_behind), 0) FROM bound AS b), 1)) AS f
        WHERE f.source <> 'SYNC_PULL'
        GROUP BY f.record_id) AS e
    LEFT JOIN LATERAL (
        SELECT r.version, r.acked_version FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = c.collection AND r.record_id = e.record_id
        OFFSET 0) AS r ON true
    LEFT JOIN LATERAL (
        SELECT s.state, s.is_there FROM draftline.sync_record AS s
        WHERE s.tenant_id = :tenant_id AND s.collection = c.collection AND s.record_id = e.record_id
        OFFSET 0) AS s ON true
    WHERE coalesce(s.state, 'IDLE') = 'IDLE'
      AND CASE WHEN r.version IS NULL THEN s.is_there ELSE r.version > coalesce(r.acked_version, 0) END
    ) AS l ON true
LEFT JOIN LATERAL (
    SELECT s.state, count(*) AS count, min(s.due_since) AS oldest, count(*) FILTER (WHERE s.in_doubt) AS in_doubt
    FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = c.collection AND s.state <> 'IDLE'
    GROUP BY s.state) AS n ON true
ORDER BY c.collection, n.state

-- name: list_events
-- Return events of a sync, newest first; of one record if one is given.
SELECT e.event_id, e.collection, e.record_id, e.kind, e.reason, e.message, e.detail::text AS detail, e.created_at
FROM draftline.sync_event AS e
WHERE e.tenant_id = :tenant_id AND e.upstream = :upstream AND e.event_id < CAST(:before AS bigint)
  AND (CAST(:collection AS text) = '' OR e.collection = :collection)
  AND (CAST(:record_id AS text) = '' OR e.record_id = :record_id)
ORDER BY e.event_id DESC
LIMIT :limit

-- name: retry
-- Make refused records due again, those named or all of a collection. With `forgets_attempts`, attempts whose outcome is not
-- known are given up as well, and what they would have written is compared again after a look at the upstream. What was known
-- before the upstream was restored may be newer than what it holds, so it is forgotten. Return which.
WITH chosen AS MATERIALIZED (
    SELECT s.record_id, coalesce(s.is_there AND s.known_at <= (
        SELECT (u.config ->> 'restored_mark')::bigint
        FROM draftline.sync_collection AS c
        JOIN draftline.sync_upstream AS u ON u.tenant_id = c.tenant_id AND u.upstream = c.upstream
        WHERE c.tenant_id = :tenant_id AND c.collection = :collection), false) AS was_known_before
    FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection
      AND (CAST(:record_ids AS text[]) IS NULL OR s.record_id = ANY (CAST(:record_ids AS text[])))
      AND (s.state = 'FAILED' OR CAST(:forgets_attempts AS boolean) AND s.state = 'SENDING' AND s.in_doubt)
    ORDER BY s.record_id
    LIMIT :limit
    FOR UPDATE
), retried AS (
    UPDATE draftline.sync_record AS s
    SET state = 'DUE', error = NULL, tries = 0, next_at = CAST(:now AS timestamptz), attempt_id = NULL, op = NULL, sent = NULL,
        if_match = NULL, in_doubt = false,
        remote_version = CASE WHEN NOT c.was_known_before THEN s.remote_version END,
        shadow = CASE WHEN c.was_known_before THEN '{}' ELSE s.shadow END,
        recheck = CASE WHEN s.remote_id IS NOT NULL THEN 'RECORD' END,
        due_since = coalesce(s.due_since, CAST(:now AS timestamptz)),
        known_at = nextval('draftline.sync_mark')  -- a read that began before is not merged in place of that look
    FROM chosen AS c
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = c.record_id
    RETURNING s.record_id
)
SELECT record_id FROM retried ORDER BY record_id

-- name: held
-- Return the conflicts of a record, and what is needed to decide them.
SELECT s.state, s.conflicts::text AS conflicts, s.shadow::text AS shadow, s.remote_id, s.remote_version,
    r.content::text AS content, coalesce(r.version, 0) AS version, r.deleted_at IS NULL AND r.record_id IS NOT NULL AS is_live,
    draftline.sync_put_side(s.shadow, (SELECT coalesce(jsonb_agg(c), '[]') FROM jsonb_array_elements(s.conflicts) AS c
        WHERE c ->> 'kind' = 'VALUE'), 'theirs')::text AS theirs, (s.conflicts -> 0 -> 'theirs')::text AS first_theirs
FROM draftline.sync_record AS s
LEFT JOIN draftline.record AS r ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = :record_id

-- name: collection_of_sync
-- Return the sync that a collection belongs to.
SELECT c.upstream, c.config::text AS config FROM draftline.sync_collection AS c
WHERE c.tenant_id = :tenant_id AND c.collection = :collection

-- name: chosen_values
-- Return the conflicts of a record that get a value, as draftline.sync_put_side takes them.
SELECT coalesce(jsonb_agg((c - 'base' - 'mine') || jsonb_build_object('value', p.value)), '[]')::text AS puts
FROM unnest(CAST(:paths AS text[]), CAST(:values AS jsonb[])) AS p (path, value)
JOIN jsonb_array_elements(CAST(:conflicts AS jsonb)) AS c ON c ->> 'path' = p.path

-- name: linked_to
-- Return the record that is linked to a remote id, if it is not the given one.
SELECT s.record_id FROM draftline.sync_record AS s
WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.remote_id = :remote_id AND s.record_id <> :record_id

-- name: replaceable
-- Return the record that a pull created for a remote id and that was not changed here since, if the given one may be linked.
SELECT t.record_id
FROM draftline.sync_record AS t
JOIN draftline.record AS r ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = t.record_id
WHERE t.tenant_id = :tenant_id AND t.collection = :collection AND t.remote_id = :remote_id AND t.record_id <> :record_id
  AND t.state = 'IDLE' AND r.deleted_at IS NULL AND r.version = r.acked_version
  AND starts_with(r.created_by, 'sync:') AND starts_with(r.updated_by, 'sync:')
  AND EXISTS (SELECT FROM draftline.record AS o
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.record_id = :record_id)
  AND NOT EXISTS (SELECT FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = :record_id
      AND (s.is_there OR s.attempt_id IS NOT NULL))

-- name: link
-- Link a record to a record of the upstream, of which nothing is known yet, so that it is read; a read that began before is
-- not merged. Return nothing if the record is
-- linked already, or an attempt is out, or another record has the remote id.
INSERT INTO draftline.sync_record AS s (tenant_id, collection, record_id, remote_id, is_there, shadow, state, recheck, next_at,
    due_since, known_at)
SELECT :tenant_id, :collection, r.record_id, :remote_id, true, '{}', 'DUE', 'RECORD', CAST(:now AS timestamptz),
    CAST(:now AS timestamptz), nextval('draftline.sync_mark')
FROM draftline.record AS r
WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = :record_id AND NOT EXISTS (
    SELECT FROM draftline.sync_record AS t
    WHERE t.tenant_id = :tenant_id AND t.collection = :collection AND t.remote_id = :remote_id
      AND t.record_id <> r.record_id)
ON CONFLICT (tenant_id, collection, record_id) DO UPDATE
SET remote_id = excluded.remote_id, remote_version = NULL, is_there = true, shadow = '{}', state = 'DUE', recheck = 'RECORD',
    next_at = excluded.next_at, error = NULL, tries = 0, due_since = coalesce(s.due_since, excluded.due_since),
    known_at = excluded.known_at
WHERE NOT s.is_there AND s.attempt_id IS NULL
RETURNING s.record_id
