-- The drafts of a user are found by the primary key, and not among the drafts of all users by the index for records, which has
-- the same order: the planner expects them to be fewer.
ALTER TABLE draftline.draft ALTER COLUMN user_id SET (n_distinct = 2);
ANALYZE draftline.draft (user_id);

-- A table that was emptied, and indexed since, counts as one page without rows, and the planner expects one row of any number
-- of pages. Truncated, it counts as unknown, and the planner estimates by its size.
DO $$
DECLARE
    name text;
    has_rows boolean;
BEGIN
    FOR name IN
        SELECT c.relname FROM pg_class AS c
        WHERE c.relnamespace = 'draftline'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
          AND c.reltuples = 0 AND c.relpages > 0
    LOOP
        EXECUTE format('LOCK TABLE draftline.%I IN ACCESS EXCLUSIVE MODE', name);
        EXECUTE format('SELECT EXISTS (SELECT FROM draftline.%I)', name) INTO has_rows;
        IF NOT has_rows THEN
            EXECUTE format('TRUNCATE draftline.%I', name);
        END IF;
    END LOOP;
END $$;
