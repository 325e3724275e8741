DROP TABLE draftline.request;
DROP TABLE draftline.change_log;
DROP TABLE draftline.change;
DROP SEQUENCE draftline.change_id;
ALTER TABLE draftline.record DROP COLUMN log_xact;
ALTER TABLE draftline.collection DROP COLUMN history;
ALTER TABLE draftline.draft DROP COLUMN definition_version;
DROP FUNCTION draftline.log_xact, draftline.log_horizon, draftline.difference, draftline.edited_fields,
    draftline.without_values, draftline.attribute_changes, draftline.answer, draftline.content_at, draftline.add_change_partition,
    draftline.drop_changes, draftline.keep_log_order;
