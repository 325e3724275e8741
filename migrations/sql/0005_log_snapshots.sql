-- A content of earlier is rebuilt by taking back the changes since. So that these are never many, every 64th change of
-- a record keeps the whole content that was there before it; and so does the eighth version, for the content most
-- often read is that of the creation.
ALTER TABLE draftline.change ADD COLUMN snapshot jsonb;
COMMENT ON COLUMN draftline.change.snapshot
    IS 'the whole content before the change, kept where draftline.keeps_snapshot(version)';

-- Whether the change that leads to a version keeps a snapshot.
CREATE FUNCTION draftline.keeps_snapshot(version bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT version % 64 = 0 OR version = 8 $$;

-- The content that a record had at a version: that of the next snapshot, or else the present one, with the changes in
-- between taken back. NULL if the log does not hold all values that it takes.
CREATE OR REPLACE FUNCTION draftline.content_at(tenant text, of_collection text, of_record text, at_version bigint)
RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    found jsonb;
    reached bigint;
    milestone bigint;
    kept jsonb;
    back jsonb := '{}';
    step record;
BEGIN
    SELECT r.content, r.version INTO found, reached FROM draftline.record AS r
    WHERE r.tenant_id = tenant AND r.collection = of_collection AND r.record_id = of_record;
    IF reached IS NULL OR reached < at_version THEN
        RETURN NULL;
    END IF;
    milestone := CASE WHEN at_version < 8 THEN 8 ELSE (at_version / 64 + 1) * 64 END;
    WHILE milestone <= reached LOOP
        SELECT c.snapshot INTO kept FROM draftline.change AS c
        WHERE c.tenant_id = tenant AND c.collection = of_collection AND c.record_id = of_record
          AND c.version = milestone AND c.kind <> 'DRAFT';
        IF kept IS NOT NULL THEN
            found := kept;
            reached := milestone - 1;
            EXIT;
        END IF;
        milestone := (milestone / 64 + 1) * 64;
    END LOOP;
    FOR step IN
        SELECT c.version, c.base FROM draftline.change AS c
        WHERE c.tenant_id = tenant AND c.collection = of_collection AND c.record_id = of_record
          AND c.version > at_version AND c.version <= reached AND c.kind <> 'DRAFT'
        ORDER BY c.version DESC
    LOOP
        IF step.version <> reached OR step.base IS NULL THEN
            RETURN NULL;
        END IF;
        -- The edits are small, so they become one before it is applied to the content, which may be large.
        back := draftline.compose(back, step.base);
        reached := reached - 1;
    END LOOP;
    RETURN CASE WHEN reached = at_version THEN draftline.apply_edit(back, found) END;
END $$;

-- A quiet collection is read without passing over the changes of all others.
CREATE INDEX change_collection_idx ON draftline.change (tenant_id, collection, log_xact, change_id)
    WHERE kind <> 'DRAFT';
