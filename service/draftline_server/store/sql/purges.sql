-- name: lock_purged
-- Lock the deleted records that are to be purged, in primary-key order: those that are named, or those deleted before a
-- time, the oldest first; both conditions hold if both are given. A live record is returned only if it is named.
-- is_settled: every transaction that began before the record's deletion has ended, so that a transaction which creates
-- the record again comes after the deletion in the log.
WITH named AS (
    SELECT r.record_id FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = ANY (CAST(:record_ids AS text[]))
      AND (r.deleted_at IS NULL OR CAST(:deleted_before AS timestamptz) IS NULL
          OR r.deleted_at < CAST(:deleted_before AS timestamptz))
    LIMIT :limit
), old AS (
    SELECT r.record_id FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NOT NULL
      AND CAST(:record_ids AS text[]) IS NULL AND r.deleted_at < CAST(:deleted_before AS timestamptz)
    ORDER BY r.deleted_at, r.record_id
    LIMIT :limit
)
SELECT r.record_id, r.deleted_at IS NULL AS is_live, r.log_xact < draftline.log_horizon() AS is_settled
FROM draftline.record AS r
WHERE r.tenant_id = :tenant_id AND r.collection = :collection
  AND r.record_id IN (SELECT record_id FROM named UNION ALL SELECT record_id FROM old)
  AND (r.deleted_at IS NOT NULL OR CAST(:record_ids AS text[]) IS NOT NULL)
ORDER BY r.record_id
FOR UPDATE OF r

-- name: purge_records
-- Purge deleted records that the transaction has locked, with their changes and the drafts over them, and log that. A
-- draft that creates the record stays if it was saved while the record did not exist, because it holds nothing of it.
-- Return the number of deleted drafts.
WITH target AS MATERIALIZED (
    SELECT p.record_id, r.log_xact
    FROM unnest(CAST(:record_ids AS text[])) AS p (record_id)
    CROSS JOIN LATERAL (
        SELECT r.* FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = p.record_id
        OFFSET 0
    ) AS r
    WHERE r.deleted_at IS NOT NULL
), gone AS (
    DELETE FROM draftline.record AS r
    USING target AS t
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = t.record_id
), forgotten AS (
    DELETE FROM draftline.change AS c
    USING target AS t
    WHERE c.tenant_id = :tenant_id AND c.collection = :collection AND c.record_id = t.record_id AND c.kind <> 'PURGE'
), held AS MATERIALIZED (
    SELECT d.user_id, d.record_id, d.session_id, d.kind, d.merged
    FROM (SELECT t.record_id FROM target AS t ORDER BY t.record_id) AS t
    CROSS JOIN LATERAL (
        SELECT d.* FROM draftline.draft AS d
        WHERE d.tenant_id = :tenant_id AND d.collection = :collection AND d.record_id = t.record_id
          AND (d.kind <> 'CREATE' OR d.base_version > 0)
        ORDER BY d.user_id
        FOR UPDATE
    ) AS d
), deleted AS MATERIALIZED (
    SELECT draftline.delete_drafts(:tenant_id, :collection, array_agg(h.user_id), array_agg(h.record_id)) AS drafts
    FROM held AS h
), dropped AS MATERIALIZED (
    SELECT h.* FROM held AS h CROSS JOIN deleted
), changed_drafts AS (
    SELECT 'PURGE_CONTENT' AS source, d.user_id, CAST(:collection AS text) AS collection, d.record_id, d.session_id
    FROM dropped AS d
),
-- include: write_tail.log_drafts
, moved_drafts AS (
    SELECT d.user_id, CAST(:collection AS text) AS collection, d.record_id, d.kind AS old_kind,
        d.merged AS old_merged, CAST(NULL AS text) AS new_kind, CAST(NULL AS jsonb) AS new_merged,
        CAST(NULL AS jsonb) AS live  -- the records are deleted
    FROM dropped AS d
),
-- include: write_tail.move_draft_entries
, written AS (
    SELECT CAST(:collection AS text) AS collection, t.record_id,
        -- The versions of repeated purges of an id count down from 0.
        coalesce((SELECT min(c.version) FROM draftline.change AS c WHERE c.tenant_id = :tenant_id
            AND c.collection = :collection AND c.record_id = t.record_id AND c.kind = 'PURGE'), 1) - 1 AS version,
        'PURGE' AS kind, 'PURGE_CONTENT' AS source, greatest(draftline.log_xact(), t.log_xact) AS log_xact,
        CAST(NULL AS jsonb) AS edit, CAST(NULL AS jsonb) AS base, CAST(NULL AS jsonb) AS old_content,
        CAST(NULL AS text) AS history, CAST(NULL AS text) AS old_parent_id, CAST(NULL AS text) AS parent_id,
        CAST(NULL AS bigint) AS old_position, CAST(NULL AS bigint) AS position,
        CAST(:user_id AS text) AS user_id, '' AS session_id, CAST(NULL AS uuid) AS commit_id,
        CAST(:change_reason AS text) AS change_reason, CAST(:request_id AS uuid) AS request_id
    FROM target AS t
    ORDER BY t.record_id
),
-- include: write_tail.log_records
SELECT count(*) AS drafts FROM dropped CROSS JOIN draft_entries

-- name: purge_synced
-- Forget what syncs store of purged records: of those that the upstream never held everything; of those that it no longer
-- holds all but that, because a read that began before must not create them again; of others the local values in conflicts.
-- A record that is created again begins at version 1, so no version counts as seen, nor as sent by an attempt
-- whose outcome is not known yet.
WITH held AS MATERIALIZED (
    SELECT s.record_id, NOT s.is_there AND s.remote_id IS NULL AND s.attempt_id IS NULL AS is_local,
        s.known_at > 0 AS was_known
    FROM draftline.sync_record AS s
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = ANY (CAST(:record_ids AS text[]))
    ORDER BY s.record_id
    FOR UPDATE
), forgotten AS (
    DELETE FROM draftline.sync_record AS s
    USING held AS h
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = h.record_id AND h.is_local
      AND NOT h.was_known
), reset AS (
    UPDATE draftline.sync_record AS s
    SET state = 'IDLE', shadow = NULL, seen_version = NULL, error = NULL, conflicts = '[]', tries = 0, next_at = NULL,
        due_since = NULL, recheck = NULL
    FROM held AS h
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = h.record_id AND h.is_local
      AND h.was_known
), emptied AS (
    UPDATE draftline.sync_record AS s
    SET seen_version = 0, error = NULL, conflicts = (
        SELECT coalesce(jsonb_agg(c.value - 'base' - 'mine' ORDER BY c.ordinality), '[]')
        FROM jsonb_array_elements(s.conflicts) WITH ORDINALITY AS c)
    FROM held AS h
    WHERE s.tenant_id = :tenant_id AND s.collection = :collection AND s.record_id = h.record_id AND NOT h.is_local
)
UPDATE draftline.sync_event AS e
SET message = NULL, detail = NULL
WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.record_id = ANY (CAST(:record_ids AS text[]))

-- name: purge_answers
-- Empty the stored responses that hold content of some records; a repeated request gets the reason. They are locked in
-- primary-key order, because two purges may find the same ones.
WITH held AS MATERIALIZED (
    SELECT q.user_id, q.request_id
    FROM draftline.request AS q
    WHERE q.tenant_id = :tenant_id
      AND (q.answer ->> 'collection' = :collection AND q.answer ->> 'record_id' = ANY (CAST(:record_ids AS text[]))
          OR draftline.holds_record(q.response, :record_prefix, :conflict_mark, CAST(:record_ids AS text[])))
    ORDER BY q.user_id, q.request_id
    FOR UPDATE
)
UPDATE draftline.request AS q
SET response = NULL, answer = '{"purged": true}'
FROM held AS h
WHERE q.tenant_id = :tenant_id AND q.user_id = h.user_id AND q.request_id = h.request_id

-- name: count_purgeable
-- Return how many deleted records remain of those that were requested.
SELECT count(*) AS remaining FROM draftline.record AS r
WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NOT NULL
  AND (CAST(:record_ids AS text[]) IS NULL OR r.record_id = ANY (CAST(:record_ids AS text[])))
  AND (CAST(:deleted_before AS timestamptz) IS NULL OR r.deleted_at < CAST(:deleted_before AS timestamptz))
