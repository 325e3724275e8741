-- The end of every write: parts that the statements which write records or drafts include.

-- fragment: log_records
-- Writes the log entries of records. A common table expression `written` precedes it, with a row for each record that the
-- statement writes, and these columns:
--
--   collection, record_id, version    the record and its new version
--   kind, source                      CREATE, UPDATE, DELETE, UNDELETE or PURGE; the call, as in domain/changes.py
--   log_xact                          not less than draftline.log_xact() and the record's own log_xact
--   edit, base                        makes the new content from the old one, and the old one from the new one; NULL:
--                                     the content stays the same. CREATE: not used
--   old_content                       NULL: there was none, or no snapshot of it is to be stored
--   history                           VALUES or PATHS, as the collection is declared; NULL: VALUES
--   old_parent_id, parent_id,         before and after the write; CREATE: the old ones are NULL
--   old_position, position
--   user_id, session_id, commit_id, change_reason, request_id
--
-- Rows in primary-key order make the entries of one statement follow each other in that order.
--
-- The rules that it implements: PATHS stores the paths of an edit without their values and no base; a snapshot of the old
-- content is stored at some versions; attributes are stored if they change.
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

-- fragment: log_drafts
-- Writes the log entries that tell watchers of a user's drafts. A common table expression `changed_drafts` precedes it:
-- source (the call, as in domain/changes.py), user_id, collection, record_id, session_id.
logged_drafts AS (
    INSERT INTO draftline.change (tenant_id, log_xact, collection, record_id, version, kind, source,
        user_id, session_id, change_reason, created_at)
    SELECT :tenant_id, draftline.log_xact(), d.collection, d.record_id, 0, 'DRAFT', d.source,
        d.user_id, d.session_id, '', CAST(:now AS timestamptz)
    FROM changed_drafts AS d
)
