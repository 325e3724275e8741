ALTER TABLE draftline.draft ALTER COLUMN user_id SET (n_distinct = 1);
ANALYZE draftline.draft (user_id);
DROP FUNCTION draftline.delete_drafts;
