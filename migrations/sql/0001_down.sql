-- The schema itself stays: it holds alembic's version table.
DROP TABLE draftline.record, draftline.collection, draftline.secret;
DO $$
BEGIN
    -- In one statement, for some of the functions need others.
    EXECUTE (SELECT 'DROP FUNCTION ' || string_agg(oid::regprocedure::text, ', ') || ' CASCADE'
             FROM pg_proc WHERE pronamespace = 'draftline'::regnamespace);
END $$;
DROP TYPE draftline.edit_outcome;
