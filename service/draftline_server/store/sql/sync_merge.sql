-- The merge of records that an upstream answered into the records here: three-way and by path, for many records of one
-- collection at once. An earlier statement of the transaction has locked the records, and then their rows of sync_record,
-- so that these statements see what others wrote meanwhile.

-- name: resolve
-- Return the record of each answer, in parallel arrays: the linked one, or that of the reference that the upstream keeps, or
-- the one whose id is the remote id. `is_unchanged`: it is synced, and the version is the known one, which was read since the
-- upstream was last restored. `is_expired`: the read began so long ago that deletions since then may have been forgotten.
SELECT p.index, coalesce(s.record_id, nullif(p.reference, ''), p.remote_id) AS record_id, s.record_id IS NOT NULL AS is_linked,
    coalesce(s.is_there AND s.state = 'IDLE' AND s.shadow IS NULL AND s.next_at IS NULL AND NOT p.is_deleted
        AND s.remote_version = p.remote_version AND s.known_at > coalesce((
            SELECT (u.config ->> 'restored_mark')::bigint FROM draftline.sync_upstream AS u
            WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream), -1) AND EXISTS (
            SELECT FROM draftline.record AS r
            WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id
              AND r.version = r.acked_version
            OFFSET 0), false) AS is_unchanged,
    coalesce(CAST(:mark AS bigint) < (SELECT (u.config -> 'gone' ->> 'read_since')::bigint FROM draftline.sync_upstream AS u
        WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream), false) AS is_expired
FROM unnest(CAST(:remote_ids AS text[]), CAST(:remote_versions AS text[]), CAST(:references AS text[]),
    CAST(:are_deleted AS boolean[])) WITH ORDINALITY AS p (remote_id, remote_version, reference, is_deleted, index)
LEFT JOIN LATERAL (  -- look-ups by key, whatever the planner knows of the tables
    SELECT s.* FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.remote_id = p.remote_id
    OFFSET 0) AS s ON true
ORDER BY p.index

-- name: creations_out
-- Return whether a creation is out, of which the remote id is not known yet.
SELECT EXISTS (
    SELECT FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.state = 'SENDING' AND s.op = 'CREATE'
      AND s.remote_id IS NULL) AS is_out

-- name: lock_records
-- Lock records in key order.
SELECT r.record_id FROM draftline.record AS r
WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = ANY (CAST(:record_ids AS text[]))
ORDER BY r.record_id
FOR UPDATE

-- name: lock_states
-- Lock rows of sync_record in key order.
SELECT s.record_id FROM draftline.sync_record AS s
WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = ANY (CAST(:record_ids AS text[]))
ORDER BY s.record_id
FOR UPDATE

-- name: keep_gone
-- Remember that remote ids were deleted, after the records that had them no longer do. A read that began before `mark` may
-- still contain such an id without a reference, and would resolve to the record that it would create: the row makes it read
-- the id again.
INSERT INTO draftline.sync_record AS s (tenant_id, collection, record_id, known_at)
SELECT :tenant_id, :collection, g.record_id, CAST(:mark AS bigint)
FROM unnest(CAST(:record_ids AS text[])) AS g (record_id)
ORDER BY g.record_id
ON CONFLICT (tenant_id, collection, record_id) DO UPDATE SET known_at = greatest(s.known_at, excluded.known_at)

-- fragment: looked_up
-- The row of sync_record `s` and the record `r` of each `p`. Look-ups by key, whatever the planner knows of the tables.
LEFT JOIN LATERAL (
    SELECT s.* FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = p.record_id
    OFFSET 0) AS s ON true
LEFT JOIN LATERAL (
    SELECT r.* FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
    OFFSET 0) AS r ON true

-- fragment: planned
-- The result for each answer. `verdict`:
--   DEFER         a write or a newer read of the record is known, so this answer may be out of date: read it again
--   DUPLICATE     the record is linked to another remote id
--   REFUSE        the content is not allowed here
--   IGNORE        a deletion of what was never known, or of what the record was linked to before
--   GONE          deleted on both sides
--   DELETE        deleted upstream, and not changed here
--   RECREATE      deleted upstream; what is here is to be created there again
--   HOLD_DELETED  deleted upstream, and changed here
--   HOLD_CHANGED  deleted here, and changed upstream
--   KEEP_DELETED  deleted here, which is to be sent
--   CREATE        new
--   UNDELETE      deleted here and there, or so decided; it exists upstream again
--   MERGE         merged by path
incoming AS MATERIALIZED (
    SELECT p.*, s.record_id IS NOT NULL AS is_known, coalesce(s.is_there, false) AS was_there,
        s.remote_id AS known_remote_id, s.remote_version AS known_version, s.shadow, coalesce(s.state, 'IDLE') AS state,
        coalesce(s.conflicts, '[]') AS old_conflicts, s.error, coalesce(s.tries, 0) AS tries, s.next_at, s.due_since,
        s.recheck, s.attempt_id, s.op, s.sent, s.seen_version, s.if_match, coalesce(s.in_doubt, false) AS in_doubt,
        coalesce(s.known_at, 0) AS known_at,
        r.record_id IS NOT NULL AS is_stored, r.record_id IS NOT NULL AND r.deleted_at IS NULL AS is_live,
        r.content, r.version, r.acked_version, r.log_xact, r.parent_id, r.position,
        NOT starts_with(r.updated_by, 'sync:') AS was_written_here,
        -- What is known was read before the upstream was restored, so that it may hold something older now.
        coalesce(s.is_there AND p.remote_id = s.remote_id AND s.known_at <= (
            SELECT (u.config ->> 'restored_mark')::bigint FROM draftline.sync_upstream AS u
            WHERE u.tenant_id = :tenant_id AND u.upstream = :upstream), false) AS was_known_before
    FROM unnest(CAST(:record_ids AS text[]), CAST(:remote_ids AS text[]), CAST(:remote_versions AS text[]),
        CAST(:are_deleted AS boolean[]), CAST(:documents AS jsonb[]), CAST(:failures AS jsonb[]), CAST(:puts AS jsonb[]))
        AS p (record_id, remote_id, remote_version, is_deleted, document, failure, puts)
    -- include: sync_merge.looked_up
), fenced AS (
    SELECT i.*, CASE
        WHEN i.known_at > CAST(:mark AS bigint) THEN 'NEWER_KNOWN'
        WHEN i.attempt_id IS NOT NULL AND i.recheck IS DISTINCT FROM 'ATTEMPT' THEN 'ATTEMPT_OUT'
        WHEN CAST(:is_ordered AS boolean) AND i.was_there AND NOT i.is_deleted AND i.remote_id = i.known_remote_id
            AND NOT i.was_known_before AND draftline.sync_is_older(i.remote_version, i.known_version) THEN 'WENT_BACK'
    END AS deferral
    FROM incoming AS i
), answered AS (
    SELECT f.*, CASE
        WHEN f.attempt_id IS NULL OR f.deferral IS NOT NULL THEN false
        WHEN f.op = 'DELETE' OR f.is_deleted THEN f.op = 'DELETE' AND f.is_deleted
        ELSE draftline.sync_is_applied(CASE WHEN f.op = 'UPDATE' THEN f.shadow END, f.sent,
            draftline.sync_incoming(f.document, f.sent, CAST(:fields AS jsonb))) END AS is_applied
    FROM fenced AS f
    OFFSET 0  -- a fence: each expression is evaluated once
), based AS (
    SELECT a.*, CASE WHEN a.is_applied THEN a.op <> 'DELETE' ELSE a.was_there END AS is_there,
        CASE WHEN a.is_live THEN draftline.sync_mapped(a.content, CAST(:fields AS jsonb)) END AS mine,
        CASE WHEN a.is_applied AND a.op <> 'DELETE' THEN a.sent
             WHEN NOT a.was_there OR a.is_applied THEN '{}'
             WHEN a.shadow IS NOT NULL THEN a.shadow
             WHEN a.is_stored AND a.version = a.acked_version THEN draftline.sync_mapped(a.content, CAST(:fields AS jsonb))
             WHEN a.is_stored THEN coalesce(draftline.sync_mapped(draftline.content_at(
                CAST(:tenant_id AS text), CAST(:collection AS text), a.record_id, a.acked_version), CAST(:fields AS jsonb)), '{}')
             ELSE '{}' END AS known_base
    FROM answered AS a
    OFFSET 0
), rebased AS (
    -- Of what differs after a restore of the upstream, it is not known which side changed it, whatever the versions are:
    -- nothing is the base of both. A decision is not a read of the upstream.
    SELECT b.*, e.is_rebased, CASE WHEN e.is_rebased THEN '{}' ELSE b.known_base END AS shared_base
    FROM based AS b
    CROSS JOIN LATERAL (
        SELECT b.was_known_before AND CAST(:mark AS bigint) IS NOT NULL AND (b.is_deleted
            OR draftline.sync_incoming(b.document, b.known_base, CAST(:fields AS jsonb)) <> b.known_base) AS is_rebased
        OFFSET 0) AS e
    OFFSET 0
), chosen_values AS (
    -- A value that a person chose takes the part of the value here, and of a change since what the upstream holds.
    SELECT b.*, CASE WHEN b.puts IS NULL THEN b.shared_base
            ELSE draftline.sync_put_side(b.known_base, b.puts, 'theirs') END AS base,
        CASE WHEN b.puts IS NULL THEN b.mine ELSE draftline.sync_put_side(b.mine, b.puts, 'value') END AS wanted
    FROM rebased AS b
    OFFSET 0
), compared AS (
    SELECT b.*, draftline.sync_incoming(b.document, b.base, CAST(:fields AS jsonb)) AS theirs,
        draftline.sync_outgoing(b.wanted, b.base, CAST(:fields AS jsonb)) AS outgoing,
        draftline.sync_policy('{}', CAST(:policies AS jsonb)) AS policy
    FROM chosen_values AS b
    OFFSET 0
), decided AS (
    SELECT c.*, CASE
        WHEN c.deferral IS NOT NULL THEN 'DEFER'
        WHEN c.was_there AND c.known_remote_id <> c.remote_id
            THEN CASE WHEN c.is_deleted THEN 'IGNORE' ELSE 'DUPLICATE' END
        WHEN c.failure IS NOT NULL THEN 'REFUSE'
        WHEN c.is_deleted AND NOT c.is_known THEN 'IGNORE'
        WHEN c.is_deleted AND NOT c.is_live THEN 'GONE'
        WHEN c.is_deleted AND NOT c.is_there THEN 'RECREATE'
        WHEN c.is_deleted AND (c.outgoing = c.base AND NOT c.is_rebased OR c.policy = 'UPSTREAM_WINS') THEN 'DELETE'
        WHEN c.is_deleted THEN CASE c.policy WHEN 'LOCAL_WINS' THEN 'RECREATE' ELSE 'HOLD_DELETED' END
        WHEN c.is_live THEN 'MERGE'
        WHEN c.is_there AND (c.theirs = c.base OR NOT c.is_stored AND c.remote_version = c.known_version)
            THEN 'KEEP_DELETED'
        WHEN NOT c.is_there OR c.policy = 'UPSTREAM_WINS'
            THEN CASE WHEN c.is_stored THEN 'UNDELETE' ELSE 'CREATE' END
        WHEN c.policy = 'LOCAL_WINS' THEN 'KEEP_DELETED'
        ELSE 'HOLD_CHANGED' END AS chosen
    FROM compared AS c
    OFFSET 0
), merged AS (
    SELECT d.*, CASE WHEN d.chosen = 'MERGE'
        THEN draftline.sync_merge(d.base, d.outgoing, d.theirs, CAST(:policies AS jsonb), '{}') END AS merge
    FROM decided AS d
    OFFSET 0
), placed AS (
    SELECT m.*, CASE
        WHEN m.chosen = 'MERGE' AND (m.merge).value = m.mine THEN m.content
        WHEN m.chosen = 'MERGE' AND CAST(:fields AS jsonb) IS NULL THEN (m.merge).value
        WHEN m.chosen = 'MERGE' THEN draftline.sync_take(m.content, (m.merge).value, CAST(:fields AS jsonb), NULL)
        WHEN m.chosen IN ('CREATE', 'UNDELETE') AND CAST(:fields AS jsonb) IS NULL THEN m.document
        WHEN m.chosen IN ('CREATE', 'UNDELETE')
            THEN draftline.sync_take(coalesce(m.content, '{}'), m.document, CAST(:fields AS jsonb), NULL) END AS placed_content
    FROM merged AS m
    OFFSET 0
), checked AS (
    SELECT p.*, CASE
        WHEN p.chosen NOT IN ('MERGE', 'CREATE', 'UNDELETE') OR p.placed_content = p.content AND p.is_live THEN NULL
        WHEN p.placed_content IS NULL THEN jsonb_build_object('reason', 'FIELD_BLOCKED', 'path', (
            -- The first value here that is above a mapped field and not an object.
            SELECT draftline.pointer(f.path[1:n.size])
            FROM jsonb_array_elements(CAST(:fields AS jsonb)) WITH ORDINALITY AS e (field, index)
            CROSS JOIN LATERAL (SELECT ARRAY(SELECT jsonb_array_elements_text(e.field -> 'path')) AS path) AS f
            CROSS JOIN LATERAL generate_series(1, cardinality(f.path) - 1) AS n (size)
            WHERE jsonb_typeof(draftline.member_at(p.content, f.path[1:n.size])) <> 'object'
              AND draftline.member_at(coalesce((p.merge).value, p.document), f.path) IS NOT NULL
            ORDER BY e.index, n.size
            LIMIT 1))
        ELSE draftline.content_failure(p.placed_content, coalesce(c.indexed_text, '[]'), :max_bytes, :max_depth,
            :max_indexed_text_bytes, :max_nodes) END AS problem,
        coalesce(c.history, 'VALUES') AS history
    FROM placed AS p
    LEFT JOIN draftline.collection AS c ON c.tenant_id = :tenant_id AND c.collection = :collection
    OFFSET 0
), judged AS (
    SELECT k.*, CASE WHEN k.problem IS NOT NULL THEN 'REFUSE' ELSE k.chosen END AS verdict,
        CASE WHEN k.problem IS NOT NULL THEN NULL
             WHEN k.chosen IN ('CREATE', 'UNDELETE', 'DELETE') THEN k.chosen
             WHEN k.chosen = 'MERGE' AND k.placed_content <> k.content THEN 'UPDATE' END AS kind,
        CASE WHEN k.chosen = 'MERGE' THEN draftline.sync_outgoing((k.merge).value, (k.merge).base, CAST(:fields AS jsonb))
            IS DISTINCT FROM (k.merge).base END AS is_pending,
        coalesce(k.failure, k.problem) AS cause,
        coalesce(k.failure ->> 'message', CASE k.problem ->> 'reason'
            WHEN 'FIELD_BLOCKED' THEN 'the value here is not an object, so a mapped field below it cannot be stored; '
                'make it an object, or remove it'
            WHEN 'TYPE_MISMATCH' THEN 'the field is declared as ' || lower(k.problem ->> 'type') || ' and refuses other values'
            WHEN 'INDEXED_TEXT_TOO_LONG'
                THEN 'the text is indexed and must be at most ' || (k.problem ->> 'limit') || ' bytes'
            WHEN 'NUMBER_TOO_LONG'
                THEN 'numbers must have at most ' || (k.problem ->> 'limit') || ' digits before and after the point'
            WHEN 'DOCUMENT_TOO_LARGE' THEN 'the merged content must have at most ' || (k.problem ->> 'limit')
                || CASE k.problem ->> 'what' WHEN 'size' THEN ' bytes of JSON text' WHEN 'depth' THEN ' levels of nesting'
                    ELSE ' values' END END) AS explanation
    FROM checked AS k
), planned AS MATERIALIZED (
    SELECT j.*, CASE j.verdict
        WHEN 'DEFER' THEN j.state
        WHEN 'REFUSE' THEN 'FAILED'
        WHEN 'HOLD_DELETED' THEN 'HELD'
        WHEN 'HOLD_CHANGED' THEN 'HELD'
        WHEN 'KEEP_DELETED' THEN 'DUE'
        WHEN 'RECREATE' THEN 'DUE'
        WHEN 'MERGE' THEN CASE
            WHEN (j.merge).conflicts <> '[]' THEN 'HELD'
            WHEN j.state = 'FAILED' AND j.error ->> 'reason' = 'OSCILLATING' THEN 'FAILED'
            WHEN NOT j.is_pending THEN 'IDLE'
            WHEN j.state = 'FAILED' AND j.kind IS NULL AND j.seen_version = j.version AND (j.merge).base = j.base
                THEN 'FAILED'
            ELSE 'DUE' END
        ELSE 'IDLE' END AS new_state,
        CASE j.verdict
            WHEN 'HOLD_DELETED' THEN jsonb_build_array(draftline.sync_conflict('DELETED', '{}', j.base, j.mine, NULL))
            WHEN 'HOLD_CHANGED' THEN jsonb_build_array(draftline.sync_conflict('CHANGED', '{}', j.base, NULL, j.theirs))
            WHEN 'MERGE' THEN (j.merge).conflicts
            ELSE '[]' END AS new_conflicts,
        CASE WHEN j.verdict = 'MERGE' THEN (j.merge).overruled
             WHEN j.verdict = 'DELETE' AND j.outgoing <> j.base
             THEN jsonb_build_array(draftline.sync_conflict('DELETED', '{}', j.base, j.mine, NULL))
             WHEN j.verdict IN ('UNDELETE', 'CREATE') AND j.is_there
             THEN jsonb_build_array(draftline.sync_conflict('CHANGED', '{}', j.base, NULL, j.theirs))
             ELSE '[]' END AS overruled,
        coalesce(j.version, 0) + (j.kind IS NOT NULL)::int AS new_version
    FROM judged AS j
)

-- name: preview
-- Return the content that each answer would leave, without writing it, for a check against the JSON Schema.
WITH
-- include: sync_merge.planned
SELECT record_id, placed_content::text AS content
FROM planned
WHERE kind IN ('CREATE', 'UPDATE', 'UNDELETE')

-- name: merge
-- Write the result for each answer, the log, the drafts over the records, and events. Return the verdicts. `keeps_recheck`:
-- the answers are not of a read that began after the mark, so a record that is to be read again still is.
WITH
-- include: sync_merge.planned
, updated AS (
    UPDATE draftline.record AS r
    SET content = CASE WHEN p.kind IN ('UPDATE', 'UNDELETE') THEN p.placed_content ELSE r.content END,
        version = p.new_version,
        acked_version = CASE WHEN p.new_state = 'IDLE' THEN p.new_version
            WHEN p.is_applied AND p.seen_version <= r.version THEN greatest(r.acked_version, p.seen_version)
            ELSE r.acked_version END,
        deleted_at = CASE p.kind WHEN 'DELETE' THEN CAST(:now AS timestamptz) WHEN 'UNDELETE' THEN NULL
            ELSE r.deleted_at END,
        updated_at = CASE WHEN p.kind IS NULL THEN r.updated_at ELSE CAST(:now AS timestamptz) END,
        updated_by = CASE WHEN p.kind IS NULL THEN r.updated_by ELSE CAST(:user_id AS text) END,
        log_xact = CASE WHEN p.kind IS NULL THEN r.log_xact ELSE greatest(draftline.log_xact(), r.log_xact) END
    FROM planned AS p
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
      AND r.record_id = ANY (CAST(:record_ids AS text[])) AND p.is_stored
      AND p.verdict NOT IN ('DEFER', 'DUPLICATE', 'IGNORE', 'REFUSE')
      AND (p.kind IS NOT NULL OR p.is_applied OR p.new_state = 'IDLE' AND r.acked_version IS DISTINCT FROM r.version)
), created AS (
    INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, acked_version,
        created_at, created_by, updated_at, updated_by, log_xact)
    SELECT :tenant_id, :collection, p.record_id, p.placed_content, 1, 1, CAST(:now AS timestamptz), CAST(:user_id AS text), CAST(:now AS timestamptz), CAST(:user_id AS text),
        draftline.log_xact()
    FROM planned AS p
    WHERE p.kind = 'CREATE'
    ORDER BY p.record_id
    ON CONFLICT (tenant_id, collection, record_id) DO NOTHING
    RETURNING record_id
), refreshed AS MATERIALIZED (
    SELECT CASE WHEN count(*) > 0 THEN draftline.refresh_drafts(CAST(:tenant_id AS text),
        array_agg(CAST(:collection AS text)), array_agg(p.record_id), array_agg(p.placed_content)) END AS drafts
    FROM planned AS p
    WHERE p.kind IN ('UPDATE', 'UNDELETE')
), written AS MATERIALIZED (
    SELECT CAST(:collection AS text) AS collection, p.record_id, p.new_version AS version, p.kind,
        CAST(:source AS text) AS source, greatest(draftline.log_xact(), p.log_xact) AS log_xact, (d.difference).edit AS edit, (d.difference).base AS base,
        CASE WHEN p.kind = 'UPDATE' THEN draftline.edited_fields((d.difference).edit) END AS changed_fields,
        p.content AS old_content, CASE WHEN p.kind = 'DELETE' THEN p.content ELSE p.placed_content END AS new_content,
        p.history, p.parent_id AS old_parent_id, p.parent_id, p.position AS old_position, p.position,
        CAST(:user_id AS text) AS user_id, '' AS session_id, CAST(:commit_id AS uuid) AS commit_id,
        CAST(:change_reason AS text) AS change_reason, CAST(:request_id AS uuid) AS request_id
    FROM planned AS p
    CROSS JOIN LATERAL (
        SELECT CASE WHEN p.kind IN ('UPDATE', 'UNDELETE') THEN draftline.difference(p.content, p.placed_content) END
            AS difference OFFSET 0) AS d
    WHERE p.kind IS NOT NULL
    ORDER BY p.record_id
),
-- include: write_tail.log_records
,
-- include: write_tail.orders_of_collection
,
-- include: write_tail.move_locked_entries
, known AS MATERIALIZED (
    SELECT nextval('draftline.sync_mark') AS mark
), kept AS (
    INSERT INTO draftline.sync_record AS s (tenant_id, collection, record_id, remote_id, remote_version, is_there, shadow,
        state, conflicts, error, tries, next_at, due_since, recheck, attempt_id, op, sent, seen_version, if_match,
        in_doubt, known_at)
    SELECT :tenant_id, :collection, p.record_id,
        CASE WHEN p.verdict IN ('DELETE', 'GONE', 'RECREATE') THEN NULL
             WHEN p.verdict <> 'DEFER' THEN coalesce(p.remote_id, p.known_remote_id)
             -- It is read again by this id, unless it is that of another record by now.
             ELSE coalesce(p.known_remote_id, CASE WHEN p.attempt_id IS NULL AND NOT EXISTS (
                SELECT FROM draftline.sync_record AS t
                WHERE t.tenant_id = :tenant_id AND t.collection = :collection AND t.remote_id = p.remote_id
                OFFSET 0)
                THEN p.remote_id END) END,
        CASE WHEN p.verdict IN ('DELETE', 'GONE', 'RECREATE', 'HOLD_DELETED') THEN NULL
             WHEN p.verdict = 'DEFER' OR p.verdict = 'REFUSE' AND NOT p.was_known_before THEN p.known_version
             ELSE p.remote_version END,
        CASE WHEN p.verdict IN ('DELETE', 'GONE', 'RECREATE') THEN false
             WHEN p.verdict IN ('DEFER', 'REFUSE') THEN p.was_there ELSE true END,
        CASE p.verdict WHEN 'DEFER' THEN p.shadow
            WHEN 'REFUSE' THEN CASE WHEN p.was_known_before THEN p.shared_base ELSE p.shadow END
            WHEN 'HOLD_DELETED' THEN p.base WHEN 'HOLD_CHANGED' THEN p.base WHEN 'KEEP_DELETED' THEN p.theirs
            WHEN 'MERGE' THEN CASE WHEN p.new_state = 'IDLE' THEN NULL ELSE (p.merge).base END END,
        p.new_state,
        CASE WHEN p.verdict IN ('DEFER', 'REFUSE') THEN p.old_conflicts ELSE p.new_conflicts END,
        CASE WHEN p.verdict = 'REFUSE' THEN jsonb_build_object('reason', 'INVALID_UPSTREAM', 'message',
                p.explanation, 'field', p.cause -> 'path')
             WHEN p.verdict = 'DEFER' OR p.new_state = 'FAILED' THEN p.error END,
        CASE WHEN p.verdict = 'DEFER' OR p.new_state = 'FAILED' THEN p.tries ELSE 0 END,
        CASE WHEN p.verdict = 'DEFER' AND p.attempt_id IS NOT NULL AND p.recheck IS DISTINCT FROM 'ATTEMPT' THEN p.next_at
             WHEN p.verdict = 'DEFER' OR p.new_state = 'DUE' OR CAST(:keeps_recheck AS boolean) AND p.recheck IS NOT NULL
             THEN CAST(:now AS timestamptz) END,
        CASE WHEN p.new_state <> 'IDLE' THEN coalesce(p.due_since, CAST(:now AS timestamptz)) END,
        CASE WHEN p.verdict = 'DEFER' THEN coalesce(p.recheck, 'RECORD')
             WHEN CAST(:keeps_recheck AS boolean) AND p.recheck IS NOT NULL THEN 'RECORD' END,
        CASE WHEN p.verdict = 'DEFER' THEN p.attempt_id END,
        CASE WHEN p.verdict = 'DEFER' THEN p.op END,
        CASE WHEN p.verdict = 'DEFER' THEN p.sent END,
        CASE WHEN p.verdict = 'DEFER' THEN p.seen_version WHEN p.new_state IN ('HELD', 'FAILED') THEN p.new_version END,
        CASE WHEN p.verdict = 'DEFER' THEN p.if_match END,
        CASE WHEN p.verdict = 'DEFER' THEN p.in_doubt ELSE false END,
        -- Of two reads that overlap, the one that began first may have read later. So only what is read from now on is newer
        -- than this answer, whether it was merged or left. Of what was known before the upstream was restored, it stays so
        -- until a read is merged.
        CASE WHEN p.was_known_before AND (p.verdict = 'DEFER' OR CAST(:mark AS bigint) IS NULL
            AND p.verdict NOT IN ('DELETE', 'GONE', 'RECREATE')) THEN p.known_at
            ELSE k.mark END
    FROM planned AS p, known AS k
    WHERE p.verdict NOT IN ('IGNORE', 'DUPLICATE')
    ORDER BY p.record_id
    ON CONFLICT (tenant_id, collection, record_id) DO UPDATE
    SET remote_id = excluded.remote_id, remote_version = excluded.remote_version, is_there = excluded.is_there,
        shadow = excluded.shadow, state = excluded.state, conflicts = excluded.conflicts, error = excluded.error,
        tries = excluded.tries, next_at = excluded.next_at, due_since = excluded.due_since, recheck = excluded.recheck,
        attempt_id = excluded.attempt_id, op = excluded.op, sent = excluded.sent, seen_version = excluded.seen_version,
        if_match = excluded.if_match, in_doubt = excluded.in_doubt, known_at = excluded.known_at
), events AS (
    INSERT INTO draftline.sync_event (tenant_id, upstream, collection, record_id, kind, reason, message, detail, created_at)
    SELECT :tenant_id, :upstream, :collection, e.record_id, e.kind, e.reason, e.message, e.detail, CAST(:now AS timestamptz)
    FROM (
        SELECT p.record_id, 'CONFLICT' AS kind, NULL AS reason, NULL AS message, p.new_conflicts AS detail FROM planned AS p
        WHERE p.new_state = 'HELD' AND p.verdict <> 'DEFER' AND p.new_conflicts <> p.old_conflicts
        UNION ALL
        SELECT p.record_id, 'OVERRULED', NULL, NULL, p.overruled FROM planned AS p WHERE p.overruled <> '[]'
        UNION ALL
        SELECT p.record_id, 'PULL_REFUSED', 'INVALID_UPSTREAM', p.explanation, p.cause
        FROM planned AS p WHERE p.verdict = 'REFUSE'
        UNION ALL
        SELECT p.record_id, 'DUPLICATE', 'REMOTE_ID_TAKEN', 'the record is linked to ' || p.known_remote_id
            || '; the upstream also refers to it by ' || p.remote_id, NULL
        FROM planned AS p WHERE p.verdict = 'DUPLICATE'
    ) AS e
)
SELECT p.record_id, p.remote_id, p.verdict, p.deferral, p.kind, p.new_state, p.overruled <> '[]' AS is_overruled,
    p.kind IS NOT DISTINCT FROM 'UPDATE' AND p.was_written_here AS is_changed_back,
    p.kind = 'CREATE' AND p.record_id NOT IN (SELECT c.record_id FROM created AS c) OR p.verdict NOT IN ('DEFER', 'DUPLICATE')
        AND EXISTS (SELECT FROM draftline.sync_record AS t
            WHERE t.tenant_id = :tenant_id AND t.collection = :collection AND t.remote_id = p.remote_id
              AND t.record_id <> p.record_id
            OFFSET 0) AS is_raced
FROM planned AS p
CROSS JOIN refreshed

-- name: repeated_pulls
-- Return the changes that pulls made to records since a time, of records that have at least `turns` of them among their newest
-- 100 changes.
SELECT n.record_id, n.created_at, n.edit::text AS edit, n.base::text AS base
FROM (
    SELECT p.record_id, c.created_at, c.edit, c.base, count(*) OVER (PARTITION BY p.record_id) AS pulls
    FROM unnest(CAST(:record_ids AS text[])) AS p (record_id)
    CROSS JOIN LATERAL (
        SELECT l.kind, l.source, l.edit, l.base, l.created_at FROM draftline.change AS l
        WHERE l.tenant_id = :tenant_id AND l.collection = :collection AND l.record_id = p.record_id
        ORDER BY l.version DESC
        LIMIT 100) AS c
    WHERE c.kind = 'UPDATE' AND c.source = 'SYNC_PULL' AND c.created_at > CAST(:since AS timestamptz)
      AND c.edit IS NOT NULL AND c.base IS NOT NULL) AS n
WHERE n.pulls >= CAST(:turns AS int)

-- name: last_stops
-- Return when records were last stopped since a time, because both sides rewrote the value of the other one.
SELECT e.record_id, max(e.created_at) AS stopped_at
FROM draftline.sync_event AS e
WHERE e.tenant_id = :tenant_id AND e.created_at > CAST(:since AS timestamptz) AND e.kind = 'OSCILLATING'
  AND e.collection = :collection AND e.record_id = ANY (CAST(:record_ids AS text[]))
GROUP BY e.record_id

-- name: stop_oscillating
-- Stop records until a person retries them: nothing of them is sent.
WITH stopped AS (
    UPDATE draftline.sync_record AS s
    SET state = 'FAILED', error = p.error, next_at = NULL, recheck = NULL, due_since = CAST(:now AS timestamptz)
    FROM unnest(CAST(:record_ids AS text[]), CAST(:errors AS jsonb[])) AS p (record_id, error)
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = p.record_id AND s.attempt_id IS NULL
      AND s.state <> 'HELD'
    RETURNING s.record_id, s.error
)
INSERT INTO draftline.sync_event (tenant_id, upstream, collection, record_id, kind, reason, message, detail, created_at)
SELECT :tenant_id, :upstream, :collection, s.record_id, 'OSCILLATING', s.error ->> 'reason', s.error ->> 'message', s.error,
    CAST(:now AS timestamptz)
FROM stopped AS s
