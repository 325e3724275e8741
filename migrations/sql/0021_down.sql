DELETE FROM draftline.order_entry AS e USING draftline.collection_order AS o
WHERE o.keys #>> '{0,type}' = 'ID' AND e.tenant_id = o.tenant_id AND e.collection = o.collection AND e.order_id = o.order_id;
DELETE FROM draftline.draft_order_entry AS e USING draftline.collection_order AS o
WHERE o.keys #>> '{0,type}' = 'ID' AND e.tenant_id = o.tenant_id AND e.collection = o.collection AND e.order_id = o.order_id;
DELETE FROM draftline.collection_order WHERE keys #>> '{0,type}' = 'ID';

DROP INDEX draftline.record_children_idx;
DROP INDEX draftline.collection_relations_idx;
ALTER TABLE draftline.collection DROP COLUMN relations;
DROP FUNCTION draftline.relation_orders, draftline.moved_relation_keys, draftline.entry_keys, draftline.relation_path,
    draftline.related_ids;

COMMENT ON COLUMN draftline.collection_order.keys IS '[{"path": [names], "type": "TEXT", "descending": false}]';
COMMENT ON COLUMN draftline.order_entry.key IS 'draftline.order_key() of the content and the order''s keys';
COMMENT ON COLUMN draftline.draft_order_entry.key IS 'draftline.order_key() of the merged content and the order''s keys';
COMMENT ON TABLE draftline.order_entry IS
    'One row for each live record and each order of its collection, unless it is too long for order_entry_fits().';
COMMENT ON TABLE draftline.draft_order_entry IS
    'One row for each draft and each order of its collection, unless it is too long for order_entry_fits().';

CREATE OR REPLACE FUNCTION draftline.move_draft_order_entries(tenant text, user_ids text[], collections text[],
    record_ids text[], olds jsonb[], news jsonb[]) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    moved record;
    old record;
BEGIN
    SELECT array_agg(m.user_id) AS user_ids, array_agg(m.collection) AS collections,
        array_agg(m.record_id) AS record_ids, array_agg(m.order_id) AS order_ids,
        array_agg(m.old_key) AS old_keys, array_agg(m.new_key) AS new_keys
    INTO moved
    FROM (
        SELECT d.user_id, d.collection, d.record_id, o.order_id,
            CASE WHEN d.old IS NOT NULL THEN draftline.order_key(d.old, o.keys) END AS old_key,
            CASE WHEN d.new IS NOT NULL THEN draftline.order_key(d.new, o.keys) END AS new_key
        FROM unnest(user_ids, collections, record_ids, olds, news) AS d (user_id, collection, record_id, old, new)
        JOIN draftline.collection_order AS o
            ON o.tenant_id = tenant AND o.collection = d.collection AND o.state <> 'DELETING'
        WHERE d.old IS NULL OR d.new IS NULL
           OR EXISTS (SELECT FROM unnest(o.fields) AS f (name) WHERE d.old -> f.name IS DISTINCT FROM d.new -> f.name)
        OFFSET 0  -- so that each key is computed once
    ) AS m
    WHERE m.old_key IS DISTINCT FROM m.new_key;
    IF moved.order_ids IS NULL THEN
        RETURN false;
    END IF;
    FOR old IN
        SELECT m.*
        FROM unnest(moved.user_ids, moved.collections, moved.record_ids, moved.order_ids, moved.old_keys)
            AS m (user_id, collection, record_id, order_id, key)
        WHERE m.key IS NOT NULL
    LOOP
        DELETE FROM draftline.draft_order_entry AS e
        WHERE e.tenant_id = tenant AND e.user_id = old.user_id AND e.collection = old.collection
          AND e.order_id = old.order_id AND e.key = old.key AND e.record_id = old.record_id;
    END LOOP;
    INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
    SELECT tenant, m.user_id, m.collection, m.order_id, m.key, m.record_id
    FROM unnest(moved.user_ids, moved.collections, moved.record_ids, moved.order_ids, moved.new_keys)
        AS m (user_id, collection, record_id, order_id, key)
    WHERE draftline.order_entry_fits(m.key, tenant || m.user_id || m.collection || m.record_id)
    ON CONFLICT DO NOTHING;
    RETURN true;
END $$;
