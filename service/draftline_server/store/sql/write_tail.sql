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
-- For drafts: `changed_drafts`, for which watchers are notified, and `log_drafts`; `moved_drafts` and `move_draft_entries`.

-- fragment: end_write
-- Log the records that the statement writes, and move their entries. The main query must join `entries`.
-- include: write_tail.log_records
,
-- include: write_tail.moved_entries
,
-- include: write_tail.move_entries

-- fragment: move_entries
-- Move the entries of `moved_entries`: collection, record_id, order_id, old_key, new_key.
entries AS MATERIALIZED (
    SELECT CASE WHEN count(*) > 0 THEN draftline.move_order_entries(:tenant_id, array_agg(m.collection),
        array_agg(m.record_id), array_agg(m.order_id), array_agg(m.old_key), array_agg(m.new_key)) END AS moved
    FROM moved_entries AS m
)

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
    SELECT o.collection, o.order_id, o.keys, o.fields
    FROM draftline.collection_order AS o
    WHERE o.tenant_id = :tenant_id AND o.collection = :collection AND o.state <> 'DELETING'
)

-- fragment: orders_of_written
-- The same of the collections of `written`.
orders AS MATERIALIZED (
    SELECT o.collection, o.order_id, o.keys, o.fields
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
        WHERE w.kind <> 'PURGE' AND (w.kind <> 'UPDATE' OR o.fields && w.changed_fields)
        OFFSET 0  -- so that each key is computed once
    ) AS m
    WHERE m.old_key IS DISTINCT FROM m.new_key
)

-- fragment: move_locked_entries
-- Move the entries of many records, which an earlier statement of the transaction has locked: this statement then sees all
-- their entries.
-- include: write_tail.moved_entries
, left_entries AS (
    DELETE FROM draftline.order_entry AS e
    USING moved_entries AS m
    WHERE e.tenant_id = :tenant_id AND e.collection = m.collection AND e.order_id = m.order_id AND e.key = m.old_key
      AND e.record_id = m.record_id
), new_entries AS (
    INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
    SELECT :tenant_id, m.collection, m.order_id, m.new_key, m.record_id
    FROM moved_entries AS m
    WHERE draftline.order_entry_fits(m.new_key, CAST(:tenant_id AS text) || m.collection || m.record_id)
    ORDER BY m.collection, m.order_id, m.new_key, m.record_id
    ON CONFLICT DO NOTHING
)

-- fragment: move_draft_entries
-- Move the entries of drafts. A common table expression `moved_drafts` precedes it: user_id, collection, record_id,
-- old_merged and new_merged, NULL where there was or will be no draft. The main query must join `draft_entries`.
draft_entries AS MATERIALIZED (
    SELECT CASE WHEN count(*) > 0 THEN draftline.move_draft_order_entries(:tenant_id, array_agg(d.user_id),
        array_agg(d.collection), array_agg(d.record_id), array_agg(d.old_merged), array_agg(d.new_merged)) END AS moved
    FROM moved_drafts AS d
    WHERE EXISTS (SELECT FROM draftline.collection_order AS o
        WHERE o.tenant_id = :tenant_id AND o.collection = d.collection AND o.state <> 'DELETING')
)

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
