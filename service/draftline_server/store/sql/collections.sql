-- name: get_definitions
-- Return the specs of the named collections of a tenant, their orders whose entries are complete, the relations of all
-- collections that lead to them by an inverse, and whether one that leads to them is checked. A collection without a spec
-- to which such relations lead has version 0.
WITH inverse AS MATERIALIZED (
    SELECT r.value ->> 'collection' AS target, jsonb_agg(jsonb_build_object('name', r.value ->> 'inverse',
        'collection', s.collection, 'path', r.value -> 'path', 'opposite', r.value ->> 'name', 'order_id', (
            SELECT o.order_id FROM draftline.collection_order AS o
            WHERE o.tenant_id = :tenant_id AND o.collection = s.collection AND o.state = 'READY'
              AND o.keys = jsonb_build_array(jsonb_build_object('path', r.value -> 'path', 'type', 'ID', 'descending', false))
        )) ORDER BY s.collection) FILTER (WHERE r.value ->> 'inverse' <> '') AS inverses,
        bool_or(coalesce(r.value ->> 'integrity' = 'CHECK', false)) AS is_referred_to
    FROM draftline.collection AS s
    CROSS JOIN jsonb_array_elements(s.relations) AS r
    WHERE s.tenant_id = :tenant_id AND s.relations <> '[]'
      AND (r.value ->> 'inverse' <> '' OR r.value ->> 'integrity' = 'CHECK')
      AND r.value ->> 'collection' = ANY (CAST(:collections AS text[]))
    GROUP BY r.value ->> 'collection'
)
SELECT c.collection, c.fields::text AS fields, c.orders::text AS orders, c.json_schema, c.version, c.created_at,
    c.updated_at, c.history, c.statistics::text AS statistics, c.relations::text AS relations, c.upstream,
    (SELECT i.inverses::text FROM inverse AS i WHERE i.target = c.collection) AS inverses,
    (SELECT i.is_referred_to FROM inverse AS i WHERE i.target = c.collection) AS is_referred_to,
    (SELECT jsonb_agg(jsonb_build_object('order_id', o.order_id, 'keys', o.keys))::text
     FROM draftline.collection_order AS o
     WHERE o.tenant_id = :tenant_id AND o.collection = c.collection AND o.state = 'READY'
       AND o.keys #>> '{0,type}' <> 'ID') AS ready_orders
FROM draftline.collection AS c
WHERE c.tenant_id = :tenant_id AND c.collection = ANY (CAST(:collections AS text[]))
UNION ALL
SELECT i.target, '[]', '[]', '', 0, NULL, NULL, 'VALUES', '[]', '[]', NULL, i.inverses::text, i.is_referred_to, NULL
FROM inverse AS i
WHERE NOT EXISTS (SELECT FROM draftline.collection AS c WHERE c.tenant_id = :tenant_id AND c.collection = i.target)

-- name: lock_declaration
-- Lock the spec of a collection, which exists or not: one call at a time puts it, and none while the collection is
-- imported (hold_declaration). Lock the specs of the tenant too, because their indexes are counted.
SELECT pg_advisory_xact_lock(
        CAST(:spec_lock AS integer), hashtext(CAST(:tenant_id AS text) || '/' || CAST(:collection AS text))),
    pg_advisory_xact_lock(CAST(:tenant_lock AS integer), hashtext(CAST(:tenant_id AS text)))

-- name: count_indexes
-- Return how many indexes a tenant's collection specs require.
SELECT coalesce(sum(jsonb_array_length(fields) + jsonb_array_length(orders)
    + (SELECT count(*) FROM draftline.relation_orders(relations))), 0)::int AS count
FROM draftline.collection
WHERE tenant_id = :tenant_id

-- name: other_processes
-- Return whether other processes of the service use this database; each has one listening connection.
SELECT count(*) > 1 AS others FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'draftline watch'

-- name: put_definition
-- Replace a collection spec, unless it is not at the expected version. A spec that changes nothing keeps its version.
WITH current AS MATERIALIZED (
    SELECT version, upstream FROM draftline.collection
    WHERE tenant_id = :tenant_id AND collection = :collection
    FOR UPDATE
), stored AS (
    INSERT INTO draftline.collection AS c
        (tenant_id, collection, fields, orders, indexed_text, json_schema, version, created_at, updated_at, history,
        statistics, relations)
    SELECT :tenant_id, :collection, CAST(:fields AS jsonb), CAST(:orders AS jsonb), CAST(:indexed_text AS jsonb),
        :json_schema, 1, CAST(:now AS timestamptz), CAST(:now AS timestamptz), :history, CAST(:statistics AS jsonb),
        CAST(:relations AS jsonb)
    WHERE CAST(:expected_version AS bigint) IS NULL
       OR CAST(:expected_version AS bigint) = coalesce((SELECT version FROM current), 0)
    ON CONFLICT (tenant_id, collection) DO UPDATE
    SET fields = excluded.fields, orders = excluded.orders, indexed_text = excluded.indexed_text,
        json_schema = excluded.json_schema, version = c.version + 1, updated_at = excluded.updated_at,
        history = excluded.history, statistics = excluded.statistics, relations = excluded.relations
    WHERE (c.fields, c.orders, c.json_schema, c.history, c.statistics, c.relations) IS DISTINCT FROM
        (excluded.fields, excluded.orders, excluded.json_schema, excluded.history, excluded.statistics,
        excluded.relations)
      AND (CAST(:expected_version AS bigint) IS NULL OR CAST(:expected_version AS bigint) = c.version)
)
SELECT (SELECT version FROM current) AS version_before, (SELECT upstream FROM current) AS upstream

-- name: overlong_text
-- Return a live record whose text at a path is too long for an index. A deleted record is checked when it is brought
-- back.
SELECT t.record_id
FROM (
    SELECT r.record_id, draftline.member_at(r.content, CAST(:path AS text[])) AS value
    FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = :collection AND r.deleted_at IS NULL
    OFFSET 0  -- so that each value is read once
) AS t
WHERE jsonb_typeof(t.value) = 'string' AND octet_length(t.value #>> '{}') > :max_indexed_text_bytes
LIMIT 1

-- name: list_collections
-- Return the tenant's collections by name: those with records (a loose index scan, with one look-up a name, whatever
-- the number of records) and those declared.
WITH RECURSIVE used (collection, found) AS (
    SELECT min(r.collection), 1 FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection > :after
  UNION ALL
    SELECT (SELECT min(r.collection) FROM draftline.record AS r
            WHERE r.tenant_id = :tenant_id AND r.collection > u.collection), u.found + 1
    FROM used AS u
    WHERE u.collection IS NOT NULL AND u.found < :page_size
)
SELECT collection FROM used WHERE collection IS NOT NULL
UNION
SELECT collection FROM (
    SELECT collection FROM draftline.collection
    WHERE tenant_id = :tenant_id AND collection > :after
    ORDER BY collection LIMIT :page_size
) AS declared
ORDER BY collection
LIMIT :page_size
