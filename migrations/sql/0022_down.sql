DROP FUNCTION draftline.sync_is_older, draftline.sync_put_side, draftline.sync_is_applied, draftline.sync_incoming, draftline.sync_outgoing,
    draftline.sync_take, draftline.sync_mapped, draftline.sync_merge, draftline.sync_conflict, draftline.sync_policy;
DROP TYPE draftline.sync_merged;
DROP TABLE draftline.sync_event, draftline.sync_record, draftline.sync_collection, draftline.sync_upstream;
DROP SEQUENCE draftline.sync_mark;
ALTER TABLE draftline.record DROP COLUMN acked_version;
ALTER TABLE draftline.collection DROP COLUMN upstream;
