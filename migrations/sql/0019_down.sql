ALTER TABLE draftline.draft ALTER COLUMN user_id SET (n_distinct = 1);
ANALYZE draftline.draft (user_id);
DROP FUNCTION draftline.delete_drafts;
-- One that the later text of draft_deletion.sql defines.
DROP FUNCTION IF EXISTS draftline.delete_draft_rows;
