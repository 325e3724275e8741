-- Relations of collections. Their entries are rows of order_entry and draft_order_entry, in orders of type ID; see
-- functions/relations.sql.

ALTER TABLE draftline.collection ADD COLUMN relations jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN draftline.collection.relations IS
    '[{"name": "author", "path": [names], "collection": "people", "inverse": "films", "integrity": "NONE", "on_delete": "NONE"}]';
CREATE INDEX collection_relations_idx ON draftline.collection (tenant_id, collection) WHERE relations <> '[]';

-- The children of a record, in their order.
CREATE INDEX record_children_idx ON draftline.record (tenant_id, collection, parent_id, position, record_id)
    WHERE parent_id IS NOT NULL;

COMMENT ON COLUMN draftline.collection_order.keys IS
    '[{"path": [names], "type": "TEXT", "descending": false}]; type ID: a relation, with an entry for each id that it names';
COMMENT ON COLUMN draftline.order_entry.key IS
    'draftline.order_key() of the content and the order''s keys; of a relation an id, in UTF-8';
COMMENT ON COLUMN draftline.draft_order_entry.key IS
    'draftline.order_key() of the merged content and the order''s keys; of a relation an id, in UTF-8';
COMMENT ON TABLE draftline.order_entry IS
    'One row for each live record and each order of its collection, unless it is too long for order_entry_fits(); of a relation one for each id.';
COMMENT ON TABLE draftline.draft_order_entry IS
    'One row for each draft and each order of its collection, unless it is too long for order_entry_fits(); of a relation one for each id.';
