DROP TABLE draftline.order_entry, draftline.draft_order_entry, draftline.collection_order;
DROP FUNCTION draftline.order_key, draftline.order_entry_fits;
