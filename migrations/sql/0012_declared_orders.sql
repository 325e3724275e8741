-- The orders that are declared so far. Lists use their old indexes until the entries are built.
INSERT INTO draftline.collection_order (tenant_id, collection, keys, fields, created_at)
SELECT c.tenant_id, c.collection, o.keys, draftline.order_fields(o.keys), now()
FROM draftline.collection AS c, draftline.declared_orders(c.fields, c.orders) AS o (keys);
