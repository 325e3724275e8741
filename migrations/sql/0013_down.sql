DROP FUNCTION draftline.with_drafts;
