DELETE FROM draftline.order_entry;
DELETE FROM draftline.draft_order_entry;
DELETE FROM draftline.collection_order;
ALTER TABLE draftline.collection_order
    DROP CONSTRAINT collection_order_state_check,
    ADD CONSTRAINT collection_order_state_check CHECK (state IN ('BUILDING', 'READY', 'DROPPING')),
    DROP COLUMN dropped_at;
COMMENT ON COLUMN draftline.collection_order.state IS
    'BUILDING: writes keep its entries, earlier ones are being added; READY: its entries are complete; '
    'DROPPING: its entries are being deleted';
COMMENT ON COLUMN draftline.collection_order.draft_filled_to IS
    'while BUILDING: the entries of drafts of records up to this record_id exist; NULL: none yet';
DROP FUNCTION draftline.refresh_drafts, draftline.move_order_entries, draftline.move_draft_order_entries,
    draftline.declared_orders, draftline.order_fields;
-- Those that later texts of order_entries.sql define.
DROP FUNCTION IF EXISTS draftline.delete_order_entries, draftline.delete_draft_order_entries, draftline.draft_order_entries;

-- Apply the drafts of all users over some records to the new contents. It is VOLATILE so that its query takes a
-- snapshot of its own, after the caller has locked the records, and sees drafts that were saved while the caller waited
-- for the locks.
CREATE FUNCTION draftline.refresh_drafts(tenant text, collections text[], record_ids text[], contents jsonb[],
    olds jsonb[] DEFAULT NULL, operations jsonb[] DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    refreshed bigint;
BEGIN
    WITH stale AS MATERIALIZED (
        SELECT d.user_id, d.collection, d.record_id, d.edit, d.base, p.content, p.old, p.operations
        FROM draftline.draft AS d
        JOIN unnest(collections, record_ids, contents, olds, operations)
            AS p (collection, record_id, content, old, operations)
            ON d.collection = p.collection AND d.record_id = p.record_id
        WHERE d.tenant_id = tenant AND d.kind <> 'CREATE'
        ORDER BY d.collection, d.record_id, d.user_id
        FOR UPDATE OF d
    ), done AS MATERIALIZED (
        -- Once a record, and only where there is a draft that it matters to.
        SELECT o.collection, o.record_id, draftline.steps_done_by(o.operations, o.old, o.content) AS steps
        FROM (
            SELECT DISTINCT ON (s.collection, s.record_id) s.collection, s.record_id, s.operations, s.old, s.content
            FROM stale AS s
            WHERE s.operations IS NOT NULL AND draftline.has_transforms(s.edit)
        ) AS o
    )
    UPDATE draftline.draft AS d
    SET merged = draftline.apply_edit(s.edit, s.content), base = draftline.follow(s.base, s.edit, o.steps)
    FROM stale AS s
    LEFT JOIN done AS o ON o.collection = s.collection AND o.record_id = s.record_id
    WHERE d.tenant_id = tenant AND d.user_id = s.user_id AND d.collection = s.collection
      AND d.record_id = s.record_id;
    GET DIAGNOSTICS refreshed = ROW_COUNT;
    RETURN refreshed;
END $$;
