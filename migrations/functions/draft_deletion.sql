-- Deleting drafts.

-- Delete drafts of one collection, in parallel arrays, which the caller has locked. Return their number. Each is deleted by its
-- primary key, because a join might read all drafts of the tenant while the planner does not know the table.
CREATE OR REPLACE FUNCTION draftline.delete_drafts(tenant text, collection_id text, user_ids text[], record_ids text[])
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    old record;
BEGIN
    FOR old IN SELECT p.* FROM unnest(user_ids, record_ids) AS p (user_id, record_id) LOOP
        DELETE FROM draftline.draft AS d
        WHERE d.tenant_id = tenant AND d.user_id = old.user_id AND d.collection = collection_id
          AND d.record_id = old.record_id;
    END LOOP;
    RETURN cardinality(record_ids);
END $$;
