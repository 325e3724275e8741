DROP TABLE draftline.order_entry, draftline.draft_order_entry, draftline.collection_order;
DROP FUNCTION draftline.order_key, draftline.order_entry_fits;
-- One that the later text of order_entries.sql defines.
DROP FUNCTION IF EXISTS draftline.order_key_part;
