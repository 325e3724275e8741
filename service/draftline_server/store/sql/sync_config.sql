-- Configurations of syncs, their leases, and their positions.

-- name: next_mark
-- Return the next number of the sequence that orders what is known of upstreams.
SELECT nextval('draftline.sync_mark') AS mark

-- name: lock_sync
-- Lock a sync.
SELECT version, endpoint FROM draftline.sync_upstream
WHERE tenant_id = :tenant_id AND upstream = :upstream
FOR UPDATE

-- name: put_sync
-- Create or replace a sync. Every record is compared again, and the reason for which the service stopped it is removed, after
-- accept_older.
INSERT INTO draftline.sync_upstream AS u (tenant_id, upstream, endpoint, config, version, created_at, updated_at)
VALUES (:tenant_id, :upstream, :endpoint, CAST(:config AS jsonb), 1, :now, :now)
ON CONFLICT (tenant_id, upstream) DO UPDATE
SET endpoint = excluded.endpoint, version = u.version + 1, updated_at = excluded.updated_at,
    -- The identity of the database stays, see database_of, and so do the marks of advance_gone and accept_older.
    config = excluded.config || CASE WHEN u.config ? 'database' THEN jsonb_build_object('database', u.config -> 'database')
        ELSE '{}' END || CASE WHEN u.config ? 'gone' THEN jsonb_build_object('gone', u.config -> 'gone') ELSE '{}' END
        || CASE WHEN u.config ? 'restored_mark' THEN jsonb_build_object('restored_mark', u.config -> 'restored_mark')
        ELSE '{}' END,
    suspended_reason = NULL, suspended_message = NULL, suspended_at = NULL, swept_at = NULL, failures = 0, open_until = NULL
RETURNING version

-- name: bound_elsewhere
-- Return the collections that belong to another sync.
SELECT collection, upstream FROM draftline.sync_collection
WHERE tenant_id = :tenant_id AND collection = ANY (CAST(:collections AS text[])) AND upstream <> :upstream
ORDER BY collection

-- name: without_values
-- Return the collections whose change log holds only paths.
SELECT collection FROM draftline.collection
WHERE tenant_id = :tenant_id AND collection = ANY (CAST(:collections AS text[])) AND history = 'PATHS'
ORDER BY collection

-- name: lock_specs
-- Lock the specs of collections against changes until the transaction ends.
SELECT pg_advisory_xact_lock(CAST(:spec_lock AS integer), hashtext(CAST(:tenant_id AS text) || '/' || c.collection))
FROM unnest(CAST(:collections AS text[])) AS c (collection)
ORDER BY c.collection

-- name: put_collections
-- Bind collections to a sync, and release those that are not named any more. What is known of a collection's records upstream
-- is kept while it stays bound to the same resource.
WITH given AS (
    SELECT g.collection, g.config
    FROM unnest(CAST(:collections AS text[]), CAST(:configs AS jsonb[])) AS g (collection, config)
), released AS (
    DELETE FROM draftline.sync_collection AS c
    WHERE c.tenant_id = :tenant_id AND c.upstream = :upstream AND c.collection NOT IN (SELECT g.collection FROM given AS g)
    RETURNING c.collection
), put AS (
    INSERT INTO draftline.sync_collection AS c (tenant_id, collection, upstream, config, created_at)
    SELECT :tenant_id, g.collection, :upstream, g.config, CAST(:now AS timestamptz)
    FROM given AS g
    ORDER BY g.collection
    ON CONFLICT (tenant_id, collection) DO UPDATE SET config = excluded.config,
        -- Other fields may be mapped, of which nothing is known: the next pull reads all.
        snapshot_at = CASE WHEN c.config = excluded.config THEN c.snapshot_at END,
        cursor = CASE WHEN c.config = excluded.config THEN c.cursor END
    RETURNING c.collection
), unmarked AS (
    UPDATE draftline.collection AS c SET upstream = NULL
    WHERE c.tenant_id = :tenant_id AND c.collection IN (SELECT r.collection FROM released AS r)
), marked AS (
    INSERT INTO draftline.collection AS c (tenant_id, collection, fields, orders, indexed_text, json_schema, version,
        created_at, updated_at, upstream)
    SELECT :tenant_id, p.collection, '[]', '[]', '[]', '', 1, CAST(:now AS timestamptz), CAST(:now AS timestamptz), :upstream
    FROM put AS p
    ORDER BY p.collection
    ON CONFLICT (tenant_id, collection) DO UPDATE SET upstream = excluded.upstream
)
SELECT (SELECT count(*) FROM put) AS bound, ARRAY(SELECT r.collection FROM released AS r ORDER BY r.collection) AS released

-- name: known_unbound
-- Return the collections that no sync binds, although something is known of their records upstream.
SELECT p.collection
FROM unnest(CAST(:collections AS text[])) AS p (collection)
WHERE NOT EXISTS (
    SELECT FROM draftline.sync_collection AS b WHERE b.tenant_id = :tenant_id AND b.collection = p.collection)
  AND (EXISTS (SELECT FROM draftline.sync_record AS s WHERE s.tenant_id = :tenant_id AND s.collection = p.collection)
    OR EXISTS (SELECT FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.acked_version IS NOT NULL))

-- name: forget_acknowledged
-- Forget what is known of the next records of a collection that no sync binds, by record id. Return how many were forgotten.
WITH forgotten AS (
    SELECT s.record_id FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND NOT EXISTS (
        SELECT FROM draftline.sync_collection AS b WHERE b.tenant_id = :tenant_id AND b.collection = :collection)
    ORDER BY s.record_id
    LIMIT :limit
), deleted AS (
    DELETE FROM draftline.sync_record AS s
    USING forgotten AS f
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = f.record_id
)
SELECT count(*) AS forgotten FROM forgotten

-- name: reset_acknowledged
-- Reset the acknowledged versions of the next records of a collection that no sync binds. Return the last record.
WITH known AS MATERIALIZED (
    SELECT r.record_id FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id > :after AND r.acked_version IS NOT NULL
      AND NOT EXISTS (
        SELECT FROM draftline.sync_collection AS b WHERE b.tenant_id = :tenant_id AND b.collection = :collection)
    ORDER BY r.record_id
    LIMIT :limit
    FOR UPDATE
), reset AS (
    UPDATE draftline.record AS r SET acked_version = NULL
    FROM known AS k
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = k.record_id
    RETURNING r.record_id
)
SELECT max(record_id) AS last FROM reset

-- name: get_syncs
-- Return the syncs of a tenant after one, by name; or the named one.
SELECT u.*, u.config::text AS config_text, ARRAY(
    SELECT jsonb_build_object('collection', c.collection, 'config', c.config)::text FROM draftline.sync_collection AS c
    WHERE c.tenant_id = :tenant_id AND c.upstream = u.upstream ORDER BY c.collection) AS collections
FROM draftline.sync_upstream AS u
WHERE u.tenant_id = :tenant_id AND u.upstream > :after AND (CAST(:upstream AS text) = '' OR u.upstream = :upstream)
ORDER BY u.upstream
LIMIT :limit

-- name: pause
-- Pause or resume parts of a sync; NULL leaves one as it is. To resume removes the reason for which the service stopped it.
UPDATE draftline.sync_upstream
SET push_paused = coalesce(CAST(:push AS boolean), push_paused), pull_paused = coalesce(CAST(:pull AS boolean), pull_paused),
    suspended_reason = CASE WHEN CAST(:resumes AS boolean) THEN NULL ELSE suspended_reason END,
    suspended_message = CASE WHEN CAST(:resumes AS boolean) THEN NULL ELSE suspended_message END,
    suspended_at = CASE WHEN CAST(:resumes AS boolean) THEN NULL ELSE suspended_at END,
    failures = CASE WHEN CAST(:resumes AS boolean) THEN 0 ELSE failures END,
    open_until = CASE WHEN CAST(:resumes AS boolean) THEN NULL ELSE open_until END, updated_at = CAST(:now AS timestamptz)
WHERE tenant_id = :tenant_id AND upstream = :upstream
RETURNING upstream

-- name: accept_older
-- If a sync was stopped because the upstream has older versions than before, let the versions that are known until now not
-- refuse older ones any more, and have all collections read a snapshot before anything is sent.
WITH restored AS (
    UPDATE draftline.sync_upstream AS u
    SET config = u.config || jsonb_build_object('restored_mark', nextval('draftline.sync_mark')), swept_at = NULL
    WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream AND u.suspended_reason = 'WENT_BACK'
    RETURNING u.upstream
), begun AS (
    UPDATE draftline.sync_collection AS c SET snapshot_at = NULL, requested = 'SNAPSHOT'
    FROM restored AS r
    WHERE c.tenant_id = :tenant_id AND c.upstream = r.upstream
    RETURNING c.collection
), sending AS MATERIALIZED (
    -- A repeated write could replace what the upstream holds now, or be answered without being stored: read it first.
    SELECT s.collection, s.record_id FROM begun AS b
    JOIN draftline.sync_record AS s ON s.tenant_id = :tenant_id AND s.collection = b.collection AND s.state = 'SENDING'
        AND s.remote_id IS NOT NULL
    ORDER BY s.collection, s.record_id
    FOR UPDATE OF s
)
UPDATE draftline.sync_record AS s SET recheck = 'ATTEMPT', in_doubt = true, next_at = CAST(:now AS timestamptz)
FROM sending AS o
WHERE s.tenant_id = :tenant_id AND s.collection = o.collection AND s.record_id = o.record_id

-- name: request
-- Request a pull of the collections of a sync, or that every record is compared. Return the collections.
WITH requested AS (
    UPDATE draftline.sync_collection AS c
    SET requested = CASE WHEN c.requested = 'SNAPSHOT' THEN c.requested ELSE CAST(:requested AS text) END,
        allowed_deletions = greatest(c.allowed_deletions, CAST(:allowed_deletions AS int))
    WHERE c.tenant_id = :tenant_id AND c.upstream = :upstream AND CAST(:requested AS text) IN ('CHANGES', 'SNAPSHOT')
    RETURNING c.collection
)
UPDATE draftline.sync_upstream AS u
SET swept_at = CASE WHEN CAST(:requested AS text) = 'PUSH' THEN NULL ELSE u.swept_at END,
    open_until = NULL
WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream AND (SELECT count(*) FROM requested) >= 0
RETURNING u.upstream

-- name: all_syncs
-- Return the syncs of all tenants that are not stopped, for the workers, with the owners of their leases.
SELECT tenant_id, upstream, owner, lease_until > CAST(:now AS timestamptz) AS is_owned
FROM draftline.sync_upstream
WHERE suspended_reason IS NULL AND NOT (push_paused AND pull_paused)
ORDER BY tenant_id, upstream

-- name: take_lease
-- Take or renew the lease of a sync, unless another worker holds it.
UPDATE draftline.sync_upstream
SET owner = CAST(:owner AS text), lease_until = CAST(:until AS timestamptz)
WHERE tenant_id = :tenant_id AND upstream = :upstream AND suspended_reason IS NULL
  AND (owner IS NULL OR owner = CAST(:owner AS text) OR lease_until < CAST(:now AS timestamptz))
RETURNING version

-- name: release_lease
-- Release the lease of a sync.
UPDATE draftline.sync_upstream SET owner = NULL, lease_until = NULL
WHERE tenant_id = :tenant_id AND upstream = :upstream AND owner = :owner

-- name: work_of
-- Return a sync for the worker that has its lease, and the last mark that was given out.
SELECT u.*, u.config::text AS config_text, coalesce(pg_sequence_last_value('draftline.sync_mark'), 0) AS mark
FROM draftline.sync_upstream AS u
WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream

-- name: collections_of
-- Return the collections of a sync for the worker.
SELECT c.*, c.config::text AS config_text
FROM draftline.sync_collection AS c
WHERE c.tenant_id = :tenant_id AND c.upstream = :upstream
ORDER BY c.collection

-- name: store_position
-- Store how far the change log was read.
UPDATE draftline.sync_upstream SET log_xact = CAST(:log_xact AS bigint), change_id = CAST(:change_id AS bigint)
WHERE tenant_id = :tenant_id AND upstream = :upstream
  AND (log_xact, change_id) < (CAST(:log_xact AS bigint), CAST(:change_id AS bigint))

-- name: store_swept
-- Store that all records were compared.
UPDATE draftline.sync_upstream SET swept_at = :now WHERE tenant_id = :tenant_id AND upstream = :upstream

-- name: store_breaker
-- Store how many requests in a row have failed, and until when only one may be tried.
UPDATE draftline.sync_upstream SET failures = :failures, open_until = :open_until
WHERE tenant_id = :tenant_id AND upstream = :upstream

-- name: may_identify_server
-- Return whether the role may call the function of `server_identifier`, which some providers of PostgreSQL do not allow.
SELECT has_function_privilege('pg_control_system()', 'EXECUTE') AS is_allowed

-- name: server_identifier
-- Return the identity of the server, which standbys share.
SELECT s.system_identifier::text AS server FROM pg_control_system() AS s

-- name: database_of
-- Return the id of this database in its server, and the identity of the database that the workers of a sync saw last: the
-- server, which is empty if it is not known, a slash, and this id.
SELECT (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())::text AS oid, u.config ->> 'database' AS seen
FROM draftline.sync_upstream AS u
WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream

-- name: store_database
-- Store the identity of the database that the workers of a sync saw, in its configuration.
UPDATE draftline.sync_upstream AS u SET config = u.config || jsonb_build_object('database', CAST(:database AS text))
WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream

-- name: begin_again
-- Have all collections of a sync read a snapshot before anything is sent, and compare every record.
WITH begun AS (
    UPDATE draftline.sync_collection AS c SET snapshot_at = NULL, requested = 'SNAPSHOT'
    WHERE c.tenant_id = :tenant_id AND c.upstream = :upstream
)
UPDATE draftline.sync_upstream AS u SET swept_at = NULL
WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream

-- name: suspend
-- Stop a sync until a person resumes it, and tell why.
WITH stopped AS (
    UPDATE draftline.sync_upstream
    SET suspended_reason = :reason, suspended_message = :message, suspended_at = CAST(:now AS timestamptz)
    WHERE tenant_id = :tenant_id AND upstream = :upstream AND suspended_reason IS NULL
    RETURNING upstream
)
INSERT INTO draftline.sync_event (tenant_id, upstream, kind, reason, message, created_at)
SELECT :tenant_id, s.upstream, 'SUSPENDED', :reason, :message, CAST(:now AS timestamptz) FROM stopped AS s

-- name: store_cursor
-- Store the cursor after a page of changes, in the transaction that merges the page.
UPDATE draftline.sync_collection SET cursor = :cursor
WHERE tenant_id = :tenant_id AND collection = :collection AND upstream = :upstream

-- name: store_pulled
-- Store that changes were read to their end.
UPDATE draftline.sync_collection
SET pulled_at = :now, requested = CASE WHEN requested = 'CHANGES' THEN NULL ELSE requested END
WHERE tenant_id = :tenant_id AND collection = :collection AND upstream = :upstream

-- name: store_snapshot
-- Store that a snapshot was read to its end, and the cursor at which changes continue.
UPDATE draftline.sync_collection
SET snapshot_at = :now, pulled_at = :now, requested = NULL, allowed_deletions = 0, cursor = :cursor
WHERE tenant_id = :tenant_id AND collection = :collection AND upstream = :upstream

-- name: forget_cursor
-- Forget a cursor that the upstream does not know any more, so that a snapshot is read.
UPDATE draftline.sync_collection SET cursor = NULL, requested = 'SNAPSHOT'
WHERE tenant_id = :tenant_id AND collection = :collection AND upstream = :upstream

-- name: linked
-- Return the next records of a collection that are known upstream, by record id, and which of them are linked and have
-- nothing newer known than a mark. With conditions in place of the flag, another index could be read whole for each page.
SELECT s.record_id, s.remote_id,
    s.is_there AND s.remote_id IS NOT NULL AND s.known_at <= CAST(:mark AS bigint) AS is_linked
FROM draftline.sync_record AS s
WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id > :after
ORDER BY s.record_id
LIMIT :limit

-- name: drop_events
-- Drop old events of a tenant.
DELETE FROM draftline.sync_event WHERE tenant_id = :tenant_id AND created_at < CAST(:before AS timestamptz)

-- name: advance_gone
-- Advance the marks below which deleted remote ids are forgotten, if they were stored before a time: `read_since` is the mark
-- that reads must have begun after from now on, and what is known since before the last one can be forgotten. Return that
-- one; nothing if it is too early. The config has {"gone": {"mark", "at", "read_since"}}.
UPDATE draftline.sync_upstream AS u
SET config = u.config || jsonb_build_object('gone', jsonb_build_object(
    'mark', coalesce(pg_sequence_last_value('draftline.sync_mark'), 0), 'at', CAST(:now AS timestamptz),
    'read_since', coalesce((u.config -> 'gone' ->> 'mark')::bigint, 0)))
FROM (
    SELECT coalesce((o.config -> 'gone' ->> 'read_since')::bigint, 0) AS known_before FROM draftline.sync_upstream AS o
    WHERE o.tenant_id = :tenant_id AND o.upstream = :upstream
    FOR UPDATE) AS o
WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream
  AND (u.config -> 'gone' IS NULL OR (u.config -> 'gone' ->> 'at')::timestamptz <= CAST(:before AS timestamptz))
RETURNING o.known_before

-- name: forget_gone
-- Delete the next rows of a collection, by record id, that only say since when the upstream does not hold a remote id, if they
-- are not newer than a mark. Return the last record that was looked at, and how many those were.
WITH page AS MATERIALIZED (
    SELECT s.record_id FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id > :after
    ORDER BY s.record_id
    LIMIT :limit
), locked AS MATERIALIZED (
    SELECT s.record_id
    FROM page AS p
    JOIN draftline.sync_record AS s
        ON s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = p.record_id
        AND s.record_id > :after AND s.record_id <= (SELECT max(e.record_id) FROM page AS e)
    WHERE NOT s.is_there AND s.state = 'IDLE' AND s.remote_id IS NULL AND s.attempt_id IS NULL AND s.next_at IS NULL
      AND s.recheck IS NULL AND s.conflicts = '[]' AND s.known_at <= CAST(:known_before AS bigint)
      AND NOT EXISTS (
        SELECT FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
        OFFSET 0)
    ORDER BY s.record_id
    FOR UPDATE OF s
), forgotten AS (
    DELETE FROM draftline.sync_record AS s
    USING locked AS l
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = l.record_id
      AND s.record_id > :after AND s.record_id <= (SELECT max(e.record_id) FROM page AS e)
)
SELECT max(p.record_id) AS last, count(*) AS seen FROM page AS p

-- name: add_event
-- Add an event.
INSERT INTO draftline.sync_event (tenant_id, upstream, collection, kind, reason, message, created_at)
VALUES (:tenant_id, :upstream, :collection, :kind, :reason, :message, :now)

-- name: sync_overview
-- Return the syncs of all tenants, with the number of their records by state, the time since which the oldest commit waits,
-- and by how long the reads of the upstream are overdue.
SELECT u.tenant_id, u.upstream, u.endpoint, u.push_paused, u.pull_paused, u.suspended_reason, u.suspended_message,
    coalesce(u.lease_until > CAST(:now AS timestamptz), false) AS is_owned, n.due, n.sending, n.in_doubt, n.held, n.failed,
    CASE WHEN coalesce((u.config ->> 'push')::boolean, true)
         THEN extract(epoch FROM CAST(:now AS timestamptz) - n.oldest)::float8 END AS lag_s,
    CASE WHEN coalesce((u.config ->> 'pull')::boolean, true) AND NOT u.pull_paused AND u.suspended_reason IS NULL
         THEN n.overdue_s END AS overdue_s
FROM draftline.sync_upstream AS u
CROSS JOIN LATERAL (
    SELECT coalesce(sum(s.due), 0)::bigint AS due, coalesce(sum(s.sending), 0)::bigint AS sending,
        coalesce(sum(s.in_doubt), 0)::bigint AS in_doubt, coalesce(sum(s.held), 0)::bigint AS held,
        coalesce(sum(s.failed), 0)::bigint AS failed,
        -- What was written before the collection was bound waits since then.
        min(least(s.due_since, greatest(unread.created_at, c.created_at))) AS oldest,
        max(extract(epoch FROM CAST(:now AS timestamptz) - coalesce(c.pulled_at, c.created_at))::float8
            - (CASE WHEN c.cursor IS NULL THEN u.config ->> 'snapshot_interval_s' ELSE u.config ->> 'pull_interval_s' END)::float8
        ) AS overdue_s
    FROM draftline.sync_collection AS c
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE r.state = 'DUE') AS due, count(*) FILTER (WHERE r.state = 'SENDING') AS sending,
            count(*) FILTER (WHERE r.in_doubt) AS in_doubt, count(*) FILTER (WHERE r.state = 'HELD') AS held,
            count(*) FILTER (WHERE r.state = 'FAILED') AS failed,
            min(r.due_since) FILTER (WHERE r.state IN ('DUE', 'SENDING')) AS due_since
        FROM draftline.sync_record AS r
        WHERE r.tenant_id = u.tenant_id AND r.collection = c.collection AND r.state <> 'IDLE') AS s
    LEFT JOIN LATERAL (
        -- The first change that no worker has read from the log. Others mark their records due.
        SELECT h.created_at FROM draftline.change AS h
        WHERE h.tenant_id = u.tenant_id AND h.collection = c.collection AND h.kind <> 'DRAFT' AND h.source <> 'SYNC_PULL'
          AND (h.log_xact, h.change_id) > (u.log_xact, u.change_id) AND coalesce((u.config ->> 'push')::boolean, true)
        ORDER BY h.log_xact, h.change_id
        LIMIT 1) AS unread ON true
    WHERE c.tenant_id = u.tenant_id AND c.upstream = u.upstream) AS n
ORDER BY u.tenant_id, u.upstream
