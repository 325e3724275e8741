DROP INDEX draftline.change_collection_idx;

-- The content that a record had at a version: its content now, with what came later taken back. NULL if the log does
-- not hold all values that it takes.
CREATE OR REPLACE FUNCTION draftline.content_at(tenant text, of_collection text, of_record text, at_version bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    found jsonb;
    reached bigint;
    step record;
BEGIN
    SELECT r.content, r.version INTO found, reached FROM draftline.record AS r
    WHERE r.tenant_id = tenant AND r.collection = of_collection AND r.record_id = of_record;
    IF reached < at_version THEN
        RETURN NULL;
    END IF;
    FOR step IN
        SELECT c.version, c.base FROM draftline.change AS c
        WHERE c.tenant_id = tenant AND c.collection = of_collection AND c.record_id = of_record
          AND c.version > at_version AND c.version <= reached AND c.kind <> 'DRAFT'
        ORDER BY c.version DESC
    LOOP
        IF step.version <> reached OR step.base IS NULL THEN
            RETURN NULL;
        END IF;
        found := draftline.apply_node(step.base, found);
        reached := reached - 1;
    END LOOP;
    RETURN CASE WHEN reached = at_version THEN found END;
END $$;

DROP FUNCTION draftline.keeps_snapshot(bigint);
ALTER TABLE draftline.change DROP COLUMN snapshot;
