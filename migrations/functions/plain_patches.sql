-- Plain patches; see store/sql/plain_patches.sql.

-- Return the indexes of those records, in parallel arrays, that have drafts over them. It is VOLATILE so that its query takes
-- a snapshot of its own, after the caller has locked the records, and sees drafts that were saved until then.
CREATE OR REPLACE FUNCTION draftline.with_drafts(tenant text, collections text[], record_ids text[], indexes bigint[])
RETURNS bigint[]
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN ARRAY(
        SELECT p.index FROM unnest(collections, record_ids, indexes) AS p (collection, record_id, index)
        WHERE (SELECT true FROM draftline.draft AS d
            WHERE d.tenant_id = tenant AND d.collection = p.collection AND d.record_id = p.record_id AND d.kind <> 'CREATE'
            LIMIT 1));
END $$;
