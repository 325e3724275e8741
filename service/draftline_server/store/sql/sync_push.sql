-- What is due at systems of record, and the attempts to write it there. Statements that lock lock records before rows of
-- sync_record, each in key order.

-- name: changed_records
-- Return the records of a sync's collections that others have changed after a position of the change log, and the position
-- that everything before is visible at. Changes of the sync itself are left out. What is read past that position is a hint:
-- it is read again, and marked again without effect.
SELECT c.collection, c.record_id, c.log_xact, c.change_id, draftline.log_horizon() AS horizon
FROM draftline.change AS c
WHERE c.tenant_id = :tenant_id AND (c.log_xact, c.change_id) > (CAST(:log_xact AS bigint), CAST(:change_id AS bigint))
  AND c.kind <> 'DRAFT' AND c.source <> 'SYNC_PULL' AND c.collection = ANY (CAST(:collections AS text[]))
ORDER BY c.log_xact, c.change_id
LIMIT :limit

-- name: mark_due
-- Mark records that differ from what the upstream is known to hold: those that were synced, and those that were refused or
-- held in conflict at an older version. What the upstream holds of a record that a pull held or refused is not merged here, so
-- it is read again before anything is sent. Records that oscillate wait for a person; others are due already. Return how
-- many were marked.
WITH behind AS MATERIALIZED (
    SELECT p.record_id, r.version
    FROM unnest(CAST(:record_ids AS text[])) AS p (record_id)
    CROSS JOIN LATERAL (  -- look-ups by key, whatever the planner knows of the tables
        SELECT r.version, r.acked_version FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
        OFFSET 0) AS r
    WHERE r.version > coalesce(r.acked_version, 0)
    UNION ALL
    SELECT p.record_id, NULL
    FROM unnest(CAST(:record_ids AS text[])) AS p (record_id)
    CROSS JOIN LATERAL (
        SELECT s.is_there FROM draftline.sync_record AS s
        WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = p.record_id
        OFFSET 0) AS s
    WHERE s.is_there AND NOT EXISTS (SELECT FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
        OFFSET 0)
), locked AS MATERIALIZED (
    SELECT s.record_id, b.version
    FROM behind AS b
    JOIN draftline.sync_record AS s
        ON s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = b.record_id
        AND s.record_id = ANY (CAST(:record_ids AS text[]))
    WHERE s.state = 'IDLE' OR s.state IN ('FAILED', 'HELD') AND (b.version IS NULL OR b.version > coalesce(s.seen_version, 0))
        AND s.error ->> 'reason' IS DISTINCT FROM 'OSCILLATING'
    ORDER BY s.record_id
    FOR UPDATE OF s
), marked AS (
    UPDATE draftline.sync_record AS s
    SET state = CASE WHEN s.state = 'HELD' THEN 'HELD' ELSE 'DUE' END,
        recheck = CASE WHEN (s.state = 'HELD' OR s.error ->> 'reason' = 'INVALID_UPSTREAM') AND s.remote_id IS NOT NULL
            THEN 'RECORD' ELSE s.recheck END,
        seen_version = CASE WHEN s.state = 'HELD' THEN l.version ELSE s.seen_version END,
        error = NULL, tries = 0, next_at = :now, due_since = coalesce(s.due_since, :now)
    FROM locked AS l
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = l.record_id
      AND s.record_id = ANY (CAST(:record_ids AS text[]))
    RETURNING s.record_id
), added AS (
    INSERT INTO draftline.sync_record (tenant_id, collection, record_id, state, next_at, due_since)
    SELECT :tenant_id, :collection, b.record_id, 'DUE', :now, :now
    FROM behind AS b
    WHERE b.version IS NOT NULL
    ORDER BY b.record_id
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING record_id
)
SELECT (SELECT count(*) FROM marked) + (SELECT count(*) FROM added) AS marked

-- name: records_behind
-- Return the next records of a collection that differ from what the upstream is known to hold, by record id.
SELECT r.record_id, r.version > coalesce(r.acked_version, 0) AS is_behind
FROM draftline.record AS r
WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id > :after
ORDER BY r.record_id
LIMIT :limit

-- name: purged_records
-- Return the next records of a collection that are known upstream, by record id, and which of them were purged while the
-- upstream is known to hold them. Version 0 was seen of those that were refused or held when they were purged.
SELECT s.record_id, s.is_there AND (s.state = 'IDLE' OR s.state IN ('FAILED', 'HELD') AND s.seen_version = 0) AND NOT EXISTS (
    SELECT FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
    OFFSET 0) AS is_behind
FROM draftline.sync_record AS s
WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id > :after
ORDER BY s.record_id
LIMIT :limit

-- name: due_records
-- Return records of a collection that are due, longest first: to be sent (`rechecks` false) or to be read at the upstream.
SELECT s.record_id, s.remote_id
FROM draftline.sync_record AS s
WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.next_at <= CAST(:now AS timestamptz)
  AND (s.recheck = 'ATTEMPT' OR s.recheck = 'RECORD' AND s.attempt_id IS NULL) IS TRUE = CAST(:rechecks AS boolean)
ORDER BY s.next_at
LIMIT :limit

-- name: next_due
-- Return when the next record of a sync's collections is due; NULL: none.
SELECT min(n.next_at) AS next_at
FROM unnest(CAST(:collections AS text[])) AS c (collection)
CROSS JOIN LATERAL (
    SELECT s.next_at FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = c.collection AND s.next_at IS NOT NULL
    ORDER BY s.next_at LIMIT 1) AS n

-- fragment: steps
-- The step that each record of `due` needs at the upstream. `READ`: its base is not known, or is from before the upstream was
-- restored. `kind`: of a preview.
based AS (
    SELECT d.*, draftline.sync_mapped(d.content, CAST(:fields AS jsonb)) AS mine,
        coalesce(d.is_there AND d.known_at <= (
            SELECT (u.config ->> 'restored_mark')::bigint FROM draftline.sync_upstream AS u
            WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream), false) AS was_known_before,
        CASE WHEN NOT d.is_there OR d.attempt_id IS NOT NULL THEN NULL
             WHEN d.shadow IS NOT NULL THEN d.shadow
             WHEN d.version = d.acked_version THEN draftline.sync_mapped(d.content, CAST(:fields AS jsonb))
             ELSE draftline.sync_mapped(draftline.content_at(CAST(:tenant_id AS text), CAST(:collection AS text),
                d.record_id, d.acked_version), CAST(:fields AS jsonb)) END AS base
    FROM due AS d
    OFFSET 0  -- a fence: each expression is evaluated once
), outgoing AS (
    SELECT b.*, draftline.sync_outgoing(b.mine, b.base, CAST(:fields AS jsonb)) AS target
    FROM based AS b
    OFFSET 0
), planned AS MATERIALIZED (
    SELECT o.record_id, o.version, o.log_xact, o.is_there, o.base, o.target, CASE
        WHEN o.attempt_id IS NOT NULL THEN 'REPEAT'
        WHEN NOT o.is_live AND NOT o.is_there THEN 'ACKNOWLEDGE'
        WHEN o.was_known_before THEN 'READ'
        WHEN NOT o.is_live THEN 'DELETE'
        WHEN NOT o.is_there THEN 'CREATE'
        WHEN o.base IS NULL THEN 'READ'
        WHEN o.base = o.target THEN 'ACKNOWLEDGE'
        ELSE 'UPDATE' END AS step, o.new_attempt_id, o.kind
    FROM outgoing AS o
)

-- name: prepare
-- Store an attempt for each due record that differs from what the upstream holds, and return the attempts. An attempt that
-- is out already is returned as it was stored, and from now on may have been applied. Records that do not differ are
-- acknowledged. `attempt_ids`: the key of each record's attempt, if it becomes one. A record whose base is not known is to be
-- read at the upstream first. A deletion of a record that the upstream never held needs no attempt.
WITH due AS MATERIALIZED (
    SELECT s.record_id, s.remote_id, s.remote_version, s.is_there, s.shadow, s.state, s.attempt_id, s.op, s.sent, s.tries,
        s.known_at, s.seen_version, s.if_match, s.recheck, r.content, r.version, r.acked_version, r.log_xact,
        r.record_id IS NOT NULL AND r.deleted_at IS NULL AS is_live, a.attempt_id AS new_attempt_id,
        CAST(NULL AS text) AS kind
    FROM unnest(CAST(:record_ids AS text[]), CAST(:attempt_ids AS uuid[])) AS a (record_id, attempt_id)
    CROSS JOIN LATERAL (  -- look-ups by key, whatever the planner knows of the tables, and however much is due
        SELECT s.* FROM draftline.sync_record AS s
        WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = a.record_id
        OFFSET 0) AS s
    LEFT JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = a.record_id
        OFFSET 0) AS r ON true
    WHERE s.next_at <= CAST(:now AS timestamptz) AND s.state IN ('IDLE', 'DUE', 'SENDING')
      AND (s.attempt_id IS NOT NULL AND s.recheck IS DISTINCT FROM 'ATTEMPT' OR s.recheck IS NULL)
),
-- include: sync_push.steps
, acknowledged AS (
    UPDATE draftline.record AS r
    SET acked_version = r.version
    FROM planned AS p
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id AND p.step = 'ACKNOWLEDGE'
      AND r.record_id = ANY (CAST(:record_ids AS text[]))
      AND r.acked_version IS DISTINCT FROM r.version
), stored AS (
    UPDATE draftline.sync_record AS s
    SET state = CASE p.step WHEN 'ACKNOWLEDGE' THEN 'IDLE' WHEN 'READ' THEN 'DUE' ELSE 'SENDING' END,
        attempt_id = CASE p.step WHEN 'REPEAT' THEN s.attempt_id WHEN 'ACKNOWLEDGE' THEN NULL WHEN 'READ' THEN NULL
            ELSE p.new_attempt_id END,
        op = CASE p.step WHEN 'REPEAT' THEN s.op WHEN 'ACKNOWLEDGE' THEN NULL WHEN 'READ' THEN NULL ELSE p.step END,
        sent = CASE WHEN p.step = 'REPEAT' THEN s.sent WHEN p.step IN ('CREATE', 'UPDATE') THEN p.target END,
        seen_version = CASE WHEN p.step = 'REPEAT' THEN s.seen_version ELSE p.version END,
        if_match = CASE WHEN p.step = 'REPEAT' THEN s.if_match WHEN p.step IN ('UPDATE', 'DELETE') THEN s.remote_version END,
        in_doubt = p.step = 'REPEAT',
        shadow = CASE p.step WHEN 'REPEAT' THEN s.shadow WHEN 'ACKNOWLEDGE' THEN NULL WHEN 'READ' THEN coalesce(p.base, '{}')
            ELSE p.base END,
        recheck = CASE p.step WHEN 'READ' THEN 'RECORD' ELSE s.recheck END,
        error = CASE WHEN p.step = 'REPEAT' THEN s.error END,
        next_at = CASE p.step WHEN 'ACKNOWLEDGE' THEN NULL WHEN 'READ' THEN CAST(:now AS timestamptz)
            ELSE CAST(:repeat_at AS timestamptz) END,
        due_since = CASE WHEN p.step <> 'ACKNOWLEDGE' THEN coalesce(s.due_since, CAST(:now AS timestamptz)) END
    FROM planned AS p
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = p.record_id
      AND s.record_id = ANY (CAST(:record_ids AS text[]))
    RETURNING s.record_id, s.attempt_id, s.op, s.remote_id, s.if_match, s.sent, s.shadow, s.in_doubt, s.tries,
        s.seen_version, p.step, p.log_xact
)
SELECT s.record_id, s.attempt_id, s.op, s.remote_id, s.if_match, s.sent::text AS sent, s.shadow::text AS base, s.in_doubt,
    s.tries, s.step, coalesce(c.commit_id, e.commit_id)::text AS commit_id, coalesce(c.user_id, e.user_id) AS user_id
FROM stored AS s
-- The change that is sent: by its transaction, which every index that the planner may choose leads to, or else by its version.
LEFT JOIN LATERAL (
    SELECT l.commit_id, l.user_id
    FROM draftline.change AS l
    WHERE l.tenant_id = :tenant_id AND l.collection = :collection AND l.log_xact = s.log_xact AND l.record_id = s.record_id
      AND l.version = s.seen_version AND l.kind <> 'DRAFT' AND s.attempt_id IS NOT NULL
    LIMIT 1) AS c ON true
LEFT JOIN LATERAL (
    SELECT l.commit_id, l.user_id
    FROM draftline.change AS l
    WHERE l.tenant_id = :tenant_id AND l.collection = :collection AND l.record_id = s.record_id
      AND l.version = s.seen_version AND l.kind <> 'DRAFT' AND s.attempt_id IS NOT NULL AND c.user_id IS NULL
    LIMIT 1) AS e ON true
ORDER BY s.record_id

-- name: drop_rechecks
-- Give up reading records of which no remote id is known. Those that are due are sent.
WITH unknown AS MATERIALIZED (
    SELECT s.record_id FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = ANY (CAST(:record_ids AS text[]))
      AND s.recheck IS NOT NULL AND s.remote_id IS NULL AND s.attempt_id IS NULL
    ORDER BY s.record_id
    FOR UPDATE
)
UPDATE draftline.sync_record AS s
SET recheck = NULL, next_at = CASE WHEN s.state = 'DUE' THEN CAST(:now AS timestamptz) END
FROM unknown AS u
WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = u.record_id
  AND s.record_id = ANY (CAST(:record_ids AS text[]))

-- name: hurry
-- Make everything that waits for an upstream due, because it can be reached again. Return how much that is.
WITH waiting AS MATERIALIZED (
    SELECT s.record_id FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.next_at > CAST(:now AS timestamptz)
      AND (s.state = 'DUE' OR s.in_doubt)
    ORDER BY s.record_id
    FOR UPDATE
), hurried AS (
    UPDATE draftline.sync_record AS s SET next_at = CAST(:now AS timestamptz)
    FROM waiting AS w
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = w.record_id
    RETURNING s.record_id
)
SELECT count(*) AS hurried FROM hurried

-- name: take_over
-- Make the attempts due that a worker left which was killed. A repetition has the same key, so that nothing is lost if that
-- worker still runs. Return how many there were.
WITH out AS MATERIALIZED (
    SELECT s.record_id FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.state = 'SENDING'
      AND s.next_at > CAST(:now AS timestamptz)
    ORDER BY s.record_id
    FOR UPDATE
), taken AS (
    UPDATE draftline.sync_record AS s SET next_at = CAST(:now AS timestamptz)
    FROM out AS o
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = o.record_id
    RETURNING s.record_id
)
SELECT count(*) AS taken FROM taken

-- name: settle
-- Store the outcomes of attempts, in parallel arrays. An outcome whose attempt is no longer out has no effect. `outcome`:
--   APPLIED    the upstream holds what was sent
--   READ       the upstream holds another version, or none, or a record of this reference: read it to learn what became of
--              the attempt
--   REFUSED    not applied, and will not be
--   NOT_TAKEN  not applied; the attempt is dropped, unless an earlier request of it may have been applied
--   DROPPED    not applied by any request until now; the attempt is dropped
--   UNKNOWN    it may have been applied: repeat it later, with the same key
--   LOST       the same, but it must not be repeated
-- `is_versioned`: the upstream has versions, so a record whose version was not returned is read. `mark`: what was known
-- when the outcomes were stored.
WITH mark AS MATERIALIZED (
    SELECT nextval('draftline.sync_mark') AS mark
), outcome AS MATERIALIZED (
    SELECT o.*, s.record_id, s.remote_id AS known_remote_id, s.op, s.sent, s.seen_version, s.in_doubt AS was_in_doubt,
        r.version, r.acked_version,
        r.record_id IS NOT NULL AS is_stored,
        CASE WHEN o.remote_id IS NOT NULL AND EXISTS (
                SELECT FROM draftline.sync_record AS t
                WHERE t.tenant_id = :tenant_id AND t.collection = :collection AND t.remote_id = o.remote_id
                  AND t.record_id <> s.record_id) THEN 'REFUSED'
             WHEN o.outcome = 'READ' AND coalesce(o.remote_id, s.remote_id) IS NULL THEN 'REFUSED'
             WHEN o.outcome = 'REFUSED' AND s.in_doubt AND s.remote_id IS NOT NULL THEN 'READ'
             WHEN o.outcome = 'NOT_TAKEN' AND s.in_doubt THEN 'UNKNOWN'
             WHEN o.outcome = 'DROPPED' THEN 'NOT_TAKEN'
             ELSE o.outcome END AS effect
    FROM unnest(CAST(:record_ids AS text[]), CAST(:attempt_ids AS uuid[]), CAST(:outcomes AS text[]),
        CAST(:remote_ids AS text[]), CAST(:remote_versions AS text[]), CAST(:errors AS jsonb[]),
        CAST(:next_ats AS timestamptz[]))
        AS o (of_record, attempt_id, outcome, remote_id, remote_version, error, next_at)
    CROSS JOIN LATERAL (
        SELECT s.* FROM draftline.sync_record AS s
        WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = o.of_record
        OFFSET 0) AS s
    LEFT JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = o.of_record
        OFFSET 0) AS r ON true
    WHERE s.attempt_id = o.attempt_id
), applied AS MATERIALIZED (
    SELECT jsonb_object_agg(o.record_id, o.seen_version) FILTER (WHERE o.effect = 'APPLIED') AS versions FROM outcome AS o
), acknowledged AS (
    -- One row is joined: of a join by record the planner may read all records of the outcomes for each of them.
    UPDATE draftline.record AS r
    SET acked_version = greatest(r.acked_version, CAST(a.versions ->> r.record_id AS bigint))
    FROM applied AS a
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = ANY (CAST(:record_ids AS text[]))
      AND CAST(a.versions ->> r.record_id AS bigint) <= r.version
), stored AS (
    UPDATE draftline.sync_record AS s
    SET remote_id = CASE WHEN o.effect = 'APPLIED' AND o.op = 'DELETE' THEN NULL
            WHEN o.effect IN ('APPLIED', 'READ') THEN coalesce(o.remote_id, s.remote_id) ELSE s.remote_id END,
        remote_version = CASE WHEN o.effect <> 'APPLIED' THEN s.remote_version WHEN o.op <> 'DELETE' THEN o.remote_version END,
        is_there = CASE WHEN o.effect = 'APPLIED' THEN o.op <> 'DELETE' ELSE s.is_there END,
        shadow = CASE WHEN o.effect <> 'APPLIED' THEN s.shadow
            WHEN o.op <> 'DELETE' AND (NOT o.is_stored OR o.version <> o.seen_version) THEN o.sent END,
        state = CASE WHEN o.effect IN ('READ', 'UNKNOWN') THEN 'SENDING'
            WHEN o.effect = 'APPLIED' AND (o.version = o.seen_version OR NOT o.is_stored AND o.op = 'DELETE') THEN 'IDLE'
            WHEN o.effect IN ('REFUSED', 'LOST') AND o.version IS NOT DISTINCT FROM o.seen_version THEN 'FAILED'
            ELSE 'DUE' END,
        error = CASE WHEN o.effect = 'APPLIED' THEN NULL ELSE coalesce(o.error, s.error) END,
        tries = CASE WHEN o.effect IN ('UNKNOWN', 'READ') THEN s.tries + 1 ELSE 0 END,
        next_at = CASE
            WHEN o.effect = 'APPLIED' AND o.op <> 'DELETE'
                AND (s.recheck IS NOT NULL OR CAST(:is_versioned AS boolean) AND o.remote_version IS NULL)
                THEN CAST(:now AS timestamptz)
            WHEN o.effect = 'APPLIED' AND (o.version = o.seen_version OR NOT o.is_stored AND o.op = 'DELETE') THEN NULL
            WHEN o.effect IN ('REFUSED', 'LOST') AND o.version IS NOT DISTINCT FROM o.seen_version
                AND s.recheck IS NULL THEN NULL
            ELSE coalesce(o.next_at, CAST(:now AS timestamptz)) END,
        due_since = CASE WHEN o.effect = 'APPLIED' AND (o.version = o.seen_version
            OR NOT o.is_stored AND o.op = 'DELETE') THEN NULL ELSE s.due_since END,
        recheck = CASE WHEN o.effect = 'READ' THEN 'ATTEMPT' WHEN o.effect = 'APPLIED' AND o.op = 'DELETE' THEN NULL
            WHEN o.effect = 'APPLIED' AND CAST(:is_versioned AS boolean) AND o.remote_version IS NULL THEN 'RECORD'
            ELSE s.recheck END,
        attempt_id = CASE WHEN o.effect IN ('READ', 'UNKNOWN') THEN s.attempt_id END,
        op = CASE WHEN o.effect IN ('READ', 'UNKNOWN') THEN s.op END,
        sent = CASE WHEN o.effect IN ('READ', 'UNKNOWN') THEN s.sent END,
        if_match = CASE WHEN o.effect IN ('READ', 'UNKNOWN') THEN s.if_match END,
        in_doubt = o.effect IN ('READ', 'UNKNOWN'),
        known_at = CASE WHEN o.effect IN ('APPLIED', 'READ') THEN m.mark ELSE s.known_at END
    FROM outcome AS o, mark AS m
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = o.record_id
      AND s.record_id = ANY (CAST(:record_ids AS text[]))
    RETURNING s.record_id, s.state, o.effect, o.error,
        CASE WHEN o.effect = 'APPLIED' AND o.op = 'DELETE' THEN o.known_remote_id END AS gone_id
), events AS (
    INSERT INTO draftline.sync_event (tenant_id, upstream, collection, record_id, kind, reason, message, detail, created_at)
    SELECT :tenant_id, :upstream, :collection, s.record_id, CASE s.effect WHEN 'LOST' THEN 'IN_DOUBT' ELSE 'REFUSED' END,
        s.error ->> 'reason', s.error ->> 'message', s.error, CAST(:now AS timestamptz)
    FROM stored AS s
    WHERE s.effect IN ('REFUSED', 'LOST')
)
SELECT s.record_id, s.state, s.effect, s.gone_id, m.mark FROM stored AS s, mark AS m ORDER BY s.record_id

-- name: known_records
-- Return the next records of a collection that are known upstream, by record id, and which of them no comparison of records
-- finds: those that were purged here, and those that are not synced although their versions are equal.
SELECT s.record_id, CASE WHEN r.record_id IS NULL THEN s.is_there OR s.state <> 'IDLE'
    ELSE s.state <> 'IDLE' AND r.version <= coalesce(r.acked_version, 0) END AS is_behind
FROM draftline.sync_record AS s
LEFT JOIN LATERAL (
    SELECT r.record_id, r.version, r.acked_version FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
    OFFSET 0) AS r ON true
WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id > :after
ORDER BY s.record_id
LIMIT :limit

-- name: preview
-- Count records by what a push would do with each, after all were compared, and return the first ids of each kind. Nothing is
-- locked and nothing is written. `kind`: a step of an attempt, or
--   REPEAT    a write is out, and its outcome is not known yet
--   CONFLICT  the record is held until its conflict is decided
--   FAILED    the record was refused, and has not changed since
WITH due AS MATERIALIZED (
    SELECT p.record_id, coalesce(s.is_there, false) AS is_there, s.known_at, s.shadow, s.attempt_id,
        r.content, r.version, r.acked_version, r.log_xact, r.record_id IS NOT NULL AND r.deleted_at IS NULL AS is_live,
        CAST(NULL AS uuid) AS new_attempt_id, CASE
            WHEN s.attempt_id IS NOT NULL THEN 'REPEAT'
            WHEN s.state = 'HELD' THEN 'CONFLICT'
            WHEN s.state = 'FAILED' AND (s.error ->> 'reason' IS NOT DISTINCT FROM 'OSCILLATING'
                OR r.version <= coalesce(s.seen_version, 0) OR r.version IS NULL AND NOT s.is_there) THEN 'FAILED'
            WHEN s.recheck IS NOT NULL OR s.error ->> 'reason' = 'INVALID_UPSTREAM' AND s.remote_id IS NOT NULL
                THEN 'READ' END AS kind
    FROM unnest(CAST(:record_ids AS text[])) AS p (record_id)
    -- include: sync_merge.looked_up
),
-- include: sync_push.steps
, kinds AS (
    SELECT p.record_id, coalesce(p.kind, p.step) AS kind FROM planned AS p
)
SELECT k.kind, count(*) AS count, (array_agg(k.record_id ORDER BY k.record_id))[1:CAST(:limit AS int)] AS record_ids
FROM kinds AS k
WHERE k.kind <> 'ACKNOWLEDGE'
GROUP BY k.kind
