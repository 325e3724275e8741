-- The end of every write: parts that the statements which write records or drafts include.
--
-- For records: a common table expression `written`, then `orders_of_collection` or `orders_of_written`, then `end_write` (or
-- `log_records` and `move_locked_entries` for many records), and the main query joins `entries`. `written` has a row for each
-- record that the statement writes, and these columns:
--
--   collection, record_id, version    the record and its new version
--   kind, source                      CREATE, UPDATE (of a live record), DELETE, UNDELETE or PURGE (of a deleted record);
--                                     the call, as in domain/changes.py
--   log_xact                          not less than draftline.log_xact() and the record's own log_xact
--   edit, base                        makes the new content from the old one, and the old one from the new one; NULL:
--                                     the content stays the same. CREATE: not used
--   changed_fields                    UPDATE: the top-level fields that differ; NULL: none. Else not used
--   old_content, new_content          CREATE: the old one is NULL
--   history                           VALUES or PATHS, as the collection is declared; NULL: VALUES
--   old_parent_id, parent_id,         before and after the write; CREATE: the old ones are NULL
--   old_position, position
--   user_id, session_id, commit_id, change_reason, request_id
--
-- For drafts: `changed_drafts`, for which watchers are notified, and `log_drafts`; `moved_drafts` and `move_draft_entries`, or
-- `add_draft_entries`. All are of the collection `:collection`.
-- Writes of many records tally them with `tally_locked_records`, and `move_locked_entries` includes it.

-- fragment: end_write
-- Log the records that the statement writes, move their entries, and tally them for the statistics of their collections.
-- The main query must join `entries`.
-- include: write_tail.log_records
,
-- include: write_tail.moved_entries
,
-- include: write_tail.move_entries

-- fragment: move_entries
-- Move the entries of `moved_entries`: collection, record_id, order_id, old_key, new_key; and tally the records of `written`.
-- include: write_tail.tallied_records
, entries AS MATERIALIZED (
    SELECT (
        SELECT CASE WHEN count(*) > 0 THEN draftline.move_order_entries(:tenant_id, array_agg(m.collection),
            array_agg(m.record_id), array_agg(m.order_id), array_agg(m.old_key), array_agg(m.new_key)) END
        FROM moved_entries AS m
    ) AS moved, (
        SELECT CASE WHEN count(*) > 0 THEN draftline.tally_records(:tenant_id, array_agg(t.collection),
            array_agg(t.record_id), array_agg(t.before), array_agg(t.after), array_agg(t.except_id)) END
        FROM tallied_records AS t
    ) AS tallied
)

-- fragment: tallied_records
-- The records that statistics may count otherwise: those with a change of a field that a statistic reads, and all that are
-- created, deleted or brought back. A commit deletes the draft of its user, and tallies that itself.
tallied_records AS MATERIALIZED (
    SELECT w.collection, w.record_id, CASE WHEN w.kind IN ('UPDATE', 'DELETE') THEN w.old_content END AS before,
        CASE WHEN w.kind <> 'DELETE' THEN w.new_content END AS after,
        CASE WHEN w.source = 'COMMIT' THEN w.user_id END AS except_id
    FROM written AS w
    WHERE w.kind <> 'PURGE' AND EXISTS (
        SELECT FROM draftline.statistic AS q
        WHERE q.tenant_id = :tenant_id AND q.collection = w.collection AND q.state IN ('BUILDING', 'READY')
          AND (w.kind <> 'UPDATE' OR q.fields && w.changed_fields))
)

-- fragment: no_reader_of_fields
-- True if no order and no statistic of a collection reads one of its top-level fields `fields`. Then a change of these fields
-- only has to be logged: move_entries does nothing for it.
NOT EXISTS (SELECT FROM draftline.collection_order AS o
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state <> 'DELETING'
      AND o.fields && CAST(:fields AS text[]))
AND NOT EXISTS (SELECT FROM draftline.statistic AS q
    WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.state IN ('BUILDING', 'READY')
      AND q.fields && CAST(:fields AS text[]))

-- fragment: append_tally
-- Append contributions to the statistics of one collection, as draftline.append_tally does; for statements with too many of
-- them for arrays. A common table expression `contributions` precedes it: user_id, content and sign.
tallied AS (
    INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, k2, k3, records, c1, s1, c2, s2, c3, s3, c4, s4)
    SELECT :tenant_id, g.statistic_id, g.user_id, g.k1, g.k2, g.k3, g.records, nullif(g.c1, 0), nullif(g.s1, 0),
        nullif(g.c2, 0), nullif(g.s2, 0), nullif(g.c3, 0), nullif(g.s3, 0), nullif(g.c4, 0), nullif(g.s4, 0)
    FROM (
        -- include: write_tail.tally_groups
    ) AS g
    RETURNING statistic_id, user_id
)

-- fragment: tally_groups
-- The sums of `contributions` for each statistic of `statistics`, by group; only those that are not all zero.
SELECT f.statistic_id, f.user_id, f.k1, f.k2, f.k3, sum(f.sign) AS records,
    sum(f.sign) FILTER (WHERE f.m1 IS NOT NULL) AS c1, sum(f.sign * f.m1) AS s1,
    sum(f.sign) FILTER (WHERE f.m2 IS NOT NULL) AS c2, sum(f.sign * f.m2) AS s2,
    sum(f.sign) FILTER (WHERE f.m3 IS NOT NULL) AS c3, sum(f.sign * f.m3) AS s3,
    sum(f.sign) FILTER (WHERE f.m4 IS NOT NULL) AS c4, sum(f.sign * f.m4) AS s4
FROM (
    SELECT e.statistic_id, e.user_id, e.sign,
        CASE WHEN e.k1_type = 'TEXT' THEN draftline.indexed_text_at(e.v1, '{}')
             WHEN e.k1_type IS NOT NULL THEN draftline.group_key(e.v1, e.k1_type) END AS k1,
        CASE WHEN e.k2_type = 'TEXT' THEN draftline.indexed_text_at(e.v2, '{}')
             WHEN e.k2_type IS NOT NULL THEN draftline.group_key(e.v2, e.k2_type) END AS k2,
        CASE WHEN e.k3_type = 'TEXT' THEN draftline.indexed_text_at(e.v3, '{}')
             WHEN e.k3_type IS NOT NULL THEN draftline.group_key(e.v3, e.k3_type) END AS k3,
        draftline.number_at(e.n1, '{}') AS m1, draftline.number_at(e.n2, '{}') AS m2,
        draftline.number_at(e.n3, '{}') AS m3, draftline.number_at(e.n4, '{}') AS m4
    FROM (
        SELECT q.statistic_id, p.user_id, p.sign, q.k1_type, q.k2_type, q.k3_type,
            draftline.member_at(p.content, q.k1_path) AS v1, draftline.member_at(p.content, q.k2_path) AS v2,
            draftline.member_at(p.content, q.k3_path) AS v3,
            draftline.member_at(p.content, q.m1_path) AS n1, draftline.member_at(p.content, q.m2_path) AS n2,
            draftline.member_at(p.content, q.m3_path) AS n3, draftline.member_at(p.content, q.m4_path) AS n4
        FROM contributions AS p
        CROSS JOIN statistics AS q
        OFFSET 0  -- so that each value is read once
    ) AS e
    OFFSET 0
) AS f
GROUP BY f.statistic_id, f.user_id, f.k1, f.k2, f.k3
HAVING sum(f.sign) <> 0 OR sum(f.sign) FILTER (WHERE f.m1 IS NOT NULL) <> 0 OR sum(f.sign * f.m1) <> 0
    OR sum(f.sign) FILTER (WHERE f.m2 IS NOT NULL) <> 0 OR sum(f.sign * f.m2) <> 0
    OR sum(f.sign) FILTER (WHERE f.m3 IS NOT NULL) <> 0 OR sum(f.sign * f.m3) <> 0
    OR sum(f.sign) FILTER (WHERE f.m4 IS NOT NULL) <> 0 OR sum(f.sign * f.m4) <> 0

-- fragment: statistics_of_collection
-- The statistics that writes keep, of one collection.
statistics AS MATERIALIZED (
    SELECT q.* FROM draftline.statistic AS q
    WHERE q.tenant_id = :tenant_id AND q.collection = :collection AND q.state IN ('BUILDING', 'READY')
)

-- fragment: tally_locked_records
-- Tally many records of one collection, which an earlier statement of the transaction has locked, as
-- draftline.tally_records does.
-- include: write_tail.statistics_of_collection
, tallied_records AS (
    SELECT w.record_id, CASE WHEN w.kind IN ('UPDATE', 'DELETE') THEN w.old_content END AS before,
        CASE WHEN w.kind <> 'DELETE' THEN w.new_content END AS after
    FROM written AS w
    WHERE EXISTS (SELECT FROM statistics AS q WHERE w.kind <> 'UPDATE' OR q.fields && w.changed_fields)
),
-- include: write_tail.tally_locked_contents

-- fragment: tally_locked_contents
-- The same for `tallied_records` of `statistics`: record_id, and the contents before and after, NULL where there is none.
drafters AS MATERIALIZED (
    SELECT d.record_id, array_agg(d.user_id) AS user_ids
    FROM draftline.draft AS d
    WHERE d.tenant_id = :tenant_id AND d.collection = :collection AND d.kind <> 'CREATE'
      AND EXISTS (SELECT FROM statistics)
    GROUP BY d.record_id
), contributions AS (
    SELECT o.user_id, v.content, v.sign
    FROM tallied_records AS w
    -- In effect a LEFT JOIN; see save_drafts.
    FULL JOIN drafters AS d ON d.record_id = w.record_id
    CROSS JOIN LATERAL (SELECT '' AS user_id, 1 AS sign UNION ALL SELECT unnest(d.user_ids), -1) AS o
    CROSS JOIN LATERAL (VALUES (w.before, -o.sign), (w.after, o.sign)) AS v (content, sign)
    WHERE w.record_id IS NOT NULL AND v.content IS NOT NULL
),
-- include: write_tail.append_tally

-- fragment: log_records
-- Write the log entries of records. PATHS stores the paths of an edit without their values and no base; a snapshot of the
-- old content is stored at some versions; attributes are stored if they change. Rows of `written` in primary-key order make
-- the entries of one statement follow each other in that order.
logged AS (
    INSERT INTO draftline.change (tenant_id, log_xact, collection, record_id, version, kind, source,
        edit, base, snapshot, attributes, user_id, session_id, commit_id, change_reason, request_id, created_at)
    SELECT :tenant_id, w.log_xact, w.collection, w.record_id, w.version, w.kind, w.source,
        CASE WHEN w.kind = 'CREATE' THEN NULL WHEN w.edit IS NULL THEN '{}'
             WHEN w.history = 'PATHS' THEN draftline.without_values(w.edit) ELSE w.edit END,
        CASE WHEN w.kind = 'CREATE' THEN NULL WHEN w.edit IS NULL OR w.edit = '{}' THEN '{}'
             WHEN w.history = 'PATHS' THEN NULL ELSE w.base END,
        CASE WHEN draftline.keeps_snapshot(w.version) AND w.history IS DISTINCT FROM 'PATHS' THEN w.old_content END,
        CASE WHEN w.parent_id IS DISTINCT FROM w.old_parent_id OR w.position IS DISTINCT FROM w.old_position
            THEN draftline.attribute_changes(w.old_parent_id, w.parent_id, w.old_position, w.position) END,
        w.user_id, w.session_id, w.commit_id, w.change_reason, w.request_id, CAST(:now AS timestamptz)
    FROM written AS w
    RETURNING kind, record_id, version
)

-- fragment: orders_of_collection
-- The orders whose entries writes keep, of one collection.
orders AS MATERIALIZED (
    SELECT o.collection, o.order_id, o.keys, o.fields, o.keys #>> '{0,type}' = 'ID' AS is_relation
    FROM draftline.collection_order AS o
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state <> 'DELETING'
)

-- fragment: orders_of_written
-- The same of the collections of `written`.
orders AS MATERIALIZED (
    SELECT o.collection, o.order_id, o.keys, o.fields, o.keys #>> '{0,type}' = 'ID' AS is_relation
    FROM draftline.collection_order AS o
    WHERE o.tenant_id = :tenant_id AND o.state <> 'DELETING'
      AND o.collection = ANY (ARRAY(SELECT DISTINCT w.collection FROM written AS w))
)

-- fragment: moved_entries
-- The entries that change: those of orders that read a changed field, and all of a record that is created, deleted or brought
-- back. A key is NULL where there was or will be no entry.
moved_entries AS MATERIALIZED (
    SELECT m.*
    FROM (
        SELECT w.collection, w.record_id, o.order_id,
            CASE WHEN w.kind IN ('UPDATE', 'DELETE') THEN draftline.order_key(w.old_content, o.keys) END AS old_key,
            CASE WHEN w.kind <> 'DELETE' THEN draftline.order_key(w.new_content, o.keys) END AS new_key
        FROM written AS w
        JOIN orders AS o ON o.collection = w.collection
        WHERE w.kind <> 'PURGE' AND (w.kind <> 'UPDATE' OR o.fields && w.changed_fields) AND NOT o.is_relation
        OFFSET 0  -- so that each key is computed once
    ) AS m
    WHERE m.old_key IS DISTINCT FROM m.new_key
  UNION ALL
    SELECT w.collection, w.record_id, o.order_id, m.old_key, m.new_key
    FROM written AS w
    JOIN orders AS o ON o.collection = w.collection
    CROSS JOIN LATERAL draftline.moved_relation_keys(CASE WHEN w.kind IN ('UPDATE', 'DELETE') THEN w.old_content END,
        CASE WHEN w.kind <> 'DELETE' THEN w.new_content END, o.keys) AS m
    WHERE w.kind <> 'PURGE' AND (w.kind <> 'UPDATE' OR o.fields && w.changed_fields) AND o.is_relation
)

-- fragment: move_locked_entries
-- Move the entries of many records, which an earlier statement of the transaction has locked: this statement then sees all
-- their entries.
-- include: write_tail.add_moved_entries
    ON CONFLICT DO NOTHING
),
-- include: write_tail.tally_locked_records

-- fragment: move_locked_entries_once
-- The same in half the time. It fails if an entry exists already, which a build or another transaction has added.
-- include: write_tail.add_moved_entries
),
-- include: write_tail.tally_locked_records

-- fragment: add_moved_entries
-- Delete the old entries of `moved_entries`, and add the new ones. What follows ends the insertion.
-- include: write_tail.moved_entries
, left_entries AS (
    DELETE FROM draftline.order_entry AS e
    USING moved_entries AS m
    WHERE e.tenant_id = :tenant_id AND e.collection = m.collection AND e.order_id = m.order_id AND e.key = m.old_key
      AND e.record_id = m.record_id
      -- Without an old entry, no entry is read.
      AND EXISTS (SELECT FROM moved_entries AS o WHERE o.old_key IS NOT NULL)
), new_entries AS (
    INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
    SELECT :tenant_id, m.collection, m.order_id, m.new_key, m.record_id
    FROM moved_entries AS m
    WHERE draftline.order_entry_fits(m.new_key, CAST(:tenant_id AS text) || m.collection || m.record_id)
    ORDER BY m.collection, m.order_id, m.new_key, m.record_id

-- fragment: move_draft_entries
-- Move the entries of drafts, and tally the drafts for statistics. A common table expression `moved_drafts` precedes it:
-- user_id, collection, record_id; old_kind, old_merged, new_kind and new_merged, NULL where there was or will be no draft;
-- live: the content of the record, which the transaction holds, NULL if it is deleted or does not exist. The main query must
-- join `draft_entries`.
draft_entries AS MATERIALIZED (
    SELECT (
        -- include: write_tail.moved_draft_entries
    ) AS moved, (
        -- include: write_tail.tallied_drafts
    ) AS tallied
)

-- fragment: add_draft_entries
-- The same, but the entries of drafts that are new are inserted by the statement itself, without arrays. It fails if one exists
-- already.
-- include: write_tail.orders_of_collection
, added_entries AS (
    INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
    SELECT :tenant_id, d.user_id, d.collection, d.order_id, d.key, d.record_id
    FROM (
        SELECT d.user_id, d.collection, d.record_id, o.order_id, draftline.order_key(d.new_merged, o.keys) AS key
        FROM moved_drafts AS d
        CROSS JOIN orders AS o
        WHERE d.old_kind IS NULL AND NOT o.is_relation
      UNION ALL
        SELECT d.user_id, d.collection, d.record_id, o.order_id, m.new_key
        FROM moved_drafts AS d
        CROSS JOIN orders AS o
        CROSS JOIN LATERAL draftline.moved_relation_keys(NULL, d.new_merged, o.keys) AS m
        WHERE d.old_kind IS NULL AND o.is_relation
        OFFSET 0  -- so that each key is computed once
    ) AS d
    WHERE draftline.order_entry_fits(d.key, CAST(:tenant_id AS text) || d.user_id || d.collection || d.record_id)
), draft_entries AS MATERIALIZED (
    SELECT (
        -- include: write_tail.moved_draft_entries
          AND d.old_kind IS NOT NULL
    ) AS moved, (
        -- include: write_tail.tallied_drafts
    ) AS tallied
)

-- fragment: moved_draft_entries
SELECT CASE WHEN count(*) > 0 THEN draftline.move_draft_order_entries(:tenant_id, array_agg(d.user_id),
    array_agg(d.collection), array_agg(d.record_id), array_agg(d.old_merged), array_agg(d.new_merged)) END
FROM moved_drafts AS d
WHERE EXISTS (SELECT FROM draftline.collection_order AS o
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state <> 'DELETING')

-- fragment: tallied_drafts
SELECT CASE WHEN count(*) > 0 THEN draftline.tally_drafts(:tenant_id, array_agg(d.user_id),
    array_agg(d.collection), array_agg(d.old_kind), array_agg(d.old_merged), array_agg(d.new_kind),
    array_agg(d.new_merged), array_agg(d.live)) END
FROM moved_drafts AS d
WHERE EXISTS (SELECT FROM draftline.statistic AS q WHERE q.tenant_id = :tenant_id
    AND q.collection = :collection AND q.state IN ('BUILDING', 'READY'))

-- fragment: log_drafts
-- Write the log entries that tell watchers of a user's drafts. A common table expression `changed_drafts` precedes it:
-- source (the call, as in domain/changes.py), user_id, collection, record_id, session_id.
logged_drafts AS (
    INSERT INTO draftline.change (tenant_id, log_xact, collection, record_id, version, kind, source,
        user_id, session_id, change_reason, created_at)
    SELECT :tenant_id, draftline.log_xact(), d.collection, d.record_id, 0, 'DRAFT', d.source,
        d.user_id, d.session_id, '', CAST(:now AS timestamptz)
    FROM changed_drafts AS d
)
