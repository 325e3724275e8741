-- Writes keep the entries of orders, and a background job builds and deletes them.

-- DROPPING is split in two: readers may still use an order that is being dropped for a moment, and writes keep its entries
-- until they no longer do.
ALTER TABLE draftline.collection_order
    DROP CONSTRAINT collection_order_state_check,
    ADD CONSTRAINT collection_order_state_check CHECK (state IN ('BUILDING', 'READY', 'DROPPING', 'DELETING')),
    ADD COLUMN dropped_at timestamptz;
COMMENT ON COLUMN draftline.collection_order.state IS
    'BUILDING: writes keep its entries, earlier ones are being added; READY: its entries are complete; '
    'DROPPING: no longer declared, writes keep its entries while lists may read them; DELETING: its entries are being deleted';
COMMENT ON COLUMN draftline.collection_order.dropped_at IS 'since when it is no longer declared';
COMMENT ON COLUMN draftline.collection_order.draft_filled_to IS
    'while BUILDING: the entries of all live records, and of drafts of records up to this record_id, exist; '
    'NULL: not all of the records yet';

DROP FUNCTION draftline.refresh_drafts;
