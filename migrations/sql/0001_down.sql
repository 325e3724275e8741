-- The schema itself stays: it holds alembic's version table.
DROP TABLE draftline.record, draftline.collection, draftline.secret;
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'draftline'::regnamespace LOOP
        EXECUTE 'DROP FUNCTION ' || name || ' CASCADE';
    END LOOP;
END $$;
DROP TYPE draftline.edit_outcome;
