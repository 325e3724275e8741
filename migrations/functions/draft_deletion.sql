-- Deleting drafts.

-- Delete drafts of one collection, in parallel arrays, which the caller has locked. Return their number. Each is found by its
-- primary key, because a join might read all drafts of the tenant while the planner does not know the table, and all are
-- deleted together: a DELETE of each takes ten times as long. The settings make one plan serve any call.
CREATE OR REPLACE FUNCTION draftline.delete_drafts(tenant text, collection_id text, user_ids text[], record_ids text[])
RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    drafts tid[] := ARRAY(
        SELECT d.ctid
        FROM unnest(user_ids, record_ids) AS p (user_id, record_id)
        CROSS JOIN LATERAL (
            SELECT d.ctid FROM draftline.draft AS d
            WHERE d.tenant_id = tenant AND d.user_id = p.user_id AND d.collection = collection_id
              AND d.record_id = p.record_id
            OFFSET 0
        ) AS d);
BEGIN
    PERFORM draftline.delete_draft_rows(tenant, drafts);
    RETURN cardinality(record_ids);
END $$;

-- Delete drafts by their locations, which the caller has found by their keys, and locked. The settings leave one plan, which
-- reads these rows only, whatever the planner knows of the table. Rows of other partitions belong to other tenants.
CREATE OR REPLACE FUNCTION draftline.delete_draft_rows(tenant text, drafts tid[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_indexscan = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    DELETE FROM draftline.draft AS d WHERE d.tenant_id = tenant AND d.ctid = ANY (drafts);
END $$;
