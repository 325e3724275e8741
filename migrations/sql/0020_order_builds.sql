-- Builds of order entries that read a large range of records, sort its entries, and add them without locking the records.

ALTER TABLE draftline.collection_order
    ADD COLUMN record_total bigint NOT NULL DEFAULT 0,
    ADD COLUMN log_xact bigint,
    ADD COLUMN begun_to text COLLATE "C";
COMMENT ON COLUMN draftline.collection_order.record_total IS 'records that existed when the build began; 0: not counted';
COMMENT ON COLUMN draftline.collection_order.log_xact IS
    'the log horizon when the order was declared: a record with a lower log_xact has not changed since; '
    'NULL: unknown, the build must lock the records';
COMMENT ON COLUMN draftline.collection_order.begun_to IS
    'entries of records up to this record_id may have been added without locking the records, and are to be verified; '
    'NULL: none';
