-- Rows of the tallies of statistics, by their locations.

-- Delete rows of a statistic's tally at their locations, and return them. The settings leave no other plan than to read these
-- rows alone: an index, whose rows are each compared with all locations, looks cheaper while the table was not analyzed.
CREATE OR REPLACE FUNCTION draftline.delete_tally_rows(tenant text, statistic bigint, locations tid[])
RETURNS TABLE (user_id text, k1 text, k2 text, k3 text, records bigint, c1 bigint, s1 numeric, c2 bigint, s2 numeric,
    c3 bigint, s3 numeric, c4 bigint, s4 numeric)
LANGUAGE plpgsql SET enable_indexscan = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY DELETE FROM draftline.tally AS t
    WHERE t.tenant_id = tenant AND t.statistic_id = statistic AND t.ctid = ANY (locations)
    RETURNING t.user_id, t.k1, t.k2, t.k3, t.records, t.c1, t.s1, t.c2, t.s2, t.c3, t.s3, t.c4, t.s4;
END $$;
