-- The version before does not verify entries, so builds that are unverified start from the beginning.
DELETE FROM draftline.order_entry AS e
USING draftline.collection_order AS o
WHERE o.begun_to IS NOT NULL AND e.tenant_id = o.tenant_id AND e.collection = o.collection AND e.order_id = o.order_id;
UPDATE draftline.collection_order
SET record_filled_to = NULL, record_count = 0
WHERE begun_to IS NOT NULL AND state = 'BUILDING';
ALTER TABLE draftline.collection_order DROP COLUMN record_total, DROP COLUMN log_xact, DROP COLUMN begun_to;
