-- References by relations that are checked (integrity CHECK): after a write that adds one, its record is live.
--
-- The write of a transaction comes first, and then lock_references and one of the statements after it, which sees what
-- others have committed until then. A transaction that adds a reference holds a lock in share mode that the deletion of its
-- record takes exclusively, so one of them sees the other. Row locks on the records would do the same, but every patch of a
-- record that is referred to would wait for them. Writes take these locks last, in the order of their keys, and wait for
-- nothing else while they hold them.

-- fragment: checked_relations
-- The relations of the tenant that are checked.
checked_relations AS MATERIALIZED (
    SELECT s.collection, r.value ->> 'name' AS name, r.value -> 'path' AS names,
        draftline.relation_path(jsonb_build_array(r.value)) AS path, r.value ->> 'collection' AS target
    FROM draftline.collection AS s
    CROSS JOIN jsonb_array_elements(s.relations) AS r
    WHERE s.tenant_id = :tenant_id AND s.relations <> '[]' AND r.value ->> 'integrity' = 'CHECK'
)

-- fragment: lock_keys
-- Lock the keys of `locked_ids`: collection, id and is_exclusive. Their number is limited, so that a write of any number of
-- records fits into the lock table.
SELECT CASE WHEN k.is_exclusive THEN CAST(pg_advisory_xact_lock(CAST(:id_lock AS integer), k.key) AS text)
    ELSE CAST(pg_advisory_xact_lock_shared(CAST(:id_lock AS integer), k.key) AS text) END AS locked
FROM (
    SELECT b.key, bool_or(b.is_exclusive) AS is_exclusive
    FROM (
        SELECT hashtext(CAST(:tenant_id AS text) || '/' || i.collection || '/' || (hashtext(i.id) & 63)) AS key, i.is_exclusive
        FROM locked_ids AS i
    ) AS b
    GROUP BY b.key
    ORDER BY b.key
    OFFSET 0
) AS k

-- name: lock_named
-- Lock records in primary-key order before a write, deleted ones too, because the write locks them as well. Return the ids
-- that the live ones name by checked relations; no name: the collection has none.
WITH
-- include: references.checked_relations
SELECT r.collection, r.record_id, x.name,
    CASE WHEN x.path IS NULL OR r.deleted_at IS NOT NULL THEN '{}' ELSE draftline.related_ids(r.content, x.path) END AS ids
FROM (
    SELECT p.* FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[])) AS p (collection, record_id)
    ORDER BY p.collection COLLATE "C", p.record_id COLLATE "C"
) AS p
CROSS JOIN LATERAL (
    SELECT r.* FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
    FOR UPDATE
) AS r
LEFT JOIN checked_relations AS x ON x.collection = r.collection

-- name: read_named
-- Return the ids that live records name by checked relations. The transaction has locked these records.
WITH
-- include: references.checked_relations
SELECT r.collection, r.record_id, x.name, draftline.related_ids(r.content, x.path) AS ids
FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[])) AS p (collection, record_id)
CROSS JOIN LATERAL (
    SELECT r.* FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
      AND r.deleted_at IS NULL
    OFFSET 0
) AS r
JOIN checked_relations AS x ON x.collection = r.collection

-- name: lock_references
-- Lock the ids that records name by checked relations in share mode, and those of deleted records exclusively.
WITH
-- include: references.checked_relations
, locked_ids AS (
    SELECT x.target AS collection, i.id, false AS is_exclusive
    FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[])) AS p (collection, record_id)
    CROSS JOIN LATERAL (
        SELECT r.collection, r.content FROM draftline.record AS r
        WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id
          AND r.deleted_at IS NULL
        OFFSET 0
    ) AS r
    JOIN checked_relations AS x ON x.collection = r.collection
    CROSS JOIN LATERAL unnest(draftline.related_ids(r.content, x.path)) AS i (id)
    UNION ALL
    SELECT d.collection, d.record_id, true
    FROM unnest(CAST(:deleted_collections AS text[]), CAST(:deleted_ids AS text[])) AS d (collection, record_id)
)
-- include: references.lock_keys

-- name: missing_records
-- Return the ids without a live record that live records name by checked relations.
WITH
-- include: references.checked_relations
SELECT r.collection, r.record_id, x.name, x.path, x.target, i.id
FROM unnest(CAST(:collections AS text[]), CAST(:record_ids AS text[])) AS p (collection, record_id)
CROSS JOIN LATERAL (
    SELECT r.* FROM draftline.record AS r
    WHERE r.tenant_id = :tenant_id AND r.collection = p.collection AND r.record_id = p.record_id AND r.deleted_at IS NULL
    OFFSET 0
) AS r
JOIN checked_relations AS x ON x.collection = r.collection
CROSS JOIN LATERAL unnest(draftline.related_ids(r.content, x.path)) WITH ORDINALITY AS i (id, index)
WHERE (SELECT true FROM draftline.record AS t
    WHERE t.tenant_id = :tenant_id AND t.collection = x.target AND t.record_id = i.id AND t.deleted_at IS NULL) IS NULL
ORDER BY r.collection, r.record_id, x.name, i.index

-- fragment: referring
-- The first records that name the record `d` by a checked relation.
JOIN checked_relations AS x ON x.target = d.collection
JOIN draftline.collection_order AS o
    ON o.tenant_id = :tenant_id AND o.collection = x.collection AND o.state <> 'DELETING'
    AND o.keys = jsonb_build_array(jsonb_build_object('path', x.names, 'type', 'ID', 'descending', false))
CROSS JOIN LATERAL (
    SELECT array_agg(f.record_id ORDER BY f.record_id) AS record_ids
    FROM (
        SELECT e.record_id FROM draftline.order_entry AS e
        WHERE e.tenant_id = :tenant_id AND e.collection = x.collection AND e.order_id = o.order_id
          AND e.key = convert_to(d.record_id, 'UTF8')
        ORDER BY e.record_id
        LIMIT :limit
    ) AS f
) AS e

-- name: referring_records
-- Return the first records that name deleted records by checked relations.
WITH
-- include: references.checked_relations
SELECT d.collection, d.record_id, x.collection AS referring_collection, x.name, x.path, e.record_ids
FROM unnest(CAST(:deleted_collections AS text[]), CAST(:deleted_ids AS text[])) AS d (collection, record_id)
-- include: references.referring
WHERE e.record_ids IS NOT NULL
ORDER BY d.collection, d.record_id, x.collection, x.name

-- name: create_named
-- Create the table of the references that an import adds, unless it exists. It ends with the session.
CREATE TEMPORARY TABLE IF NOT EXISTS named (
    record_id text COLLATE "C" NOT NULL,
    index bigint NOT NULL,
    source text NOT NULL,
    name text NOT NULL,
    path text[] NOT NULL,
    target text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL
)

-- name: empty_named
-- Remove what an earlier attempt of the import has stored.
TRUNCATE named

-- name: name_imported
-- Store the references that an import adds, once it has locked the records.
WITH
-- include: references.checked_relations
INSERT INTO named
SELECT s.record_id, s.index, s.source, x.name, x.path, x.target, i.id
FROM staging AS s
JOIN checked_relations AS x ON x.collection = :collection
LEFT JOIN draftline.record AS r
    ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = s.record_id AND r.deleted_at IS NULL
CROSS JOIN LATERAL unnest(draftline.related_ids(s.content, x.path)) AS i (id)
WHERE r.record_id IS NULL OR i.id <> ALL (draftline.related_ids(r.content, x.path))

-- fragment: unlisted
-- The records that the snapshot of an import has deleted.
SELECT CAST(:collection AS text) AS collection, l.record_id
FROM locked AS l
JOIN draftline.record AS r
    ON r.tenant_id = :tenant_id AND r.collection = :collection AND r.record_id = l.record_id
    AND r.deleted_at = CAST(:now AS timestamptz)
WHERE NOT EXISTS (SELECT FROM staging AS s WHERE s.record_id = l.record_id)

-- name: lock_imported_references
-- Lock the ids that an import names in share mode, and those of the records that it has deleted exclusively.
WITH locked_ids AS (
    SELECT n.target AS collection, n.id, false AS is_exclusive FROM named AS n
    UNION ALL
    SELECT d.collection, d.record_id, true
    FROM (
        -- include: references.unlisted
    ) AS d
    WHERE CAST(:deletes AS boolean)
)
-- include: references.lock_keys

-- name: missing_imported
-- Return the first reference of an import without a record.
SELECT n.record_id, n.index, n.source, n.name, n.path, n.target, n.id
FROM named AS n
WHERE NOT EXISTS (SELECT FROM draftline.record AS t
    WHERE t.tenant_id = :tenant_id AND t.collection = n.target AND t.record_id = n.id AND t.deleted_at IS NULL)
ORDER BY n.index, n.name, n.id
LIMIT 1

-- name: referring_unlisted
-- Return the first records that name one that the import has deleted.
WITH
-- include: references.checked_relations
SELECT d.collection, d.record_id, x.collection AS referring_collection, x.name, x.path, e.record_ids
FROM (
    -- include: references.unlisted
) AS d
-- include: references.referring
WHERE e.record_ids IS NOT NULL
ORDER BY d.record_id, x.collection, x.name
LIMIT 1

-- fragment: is_referred_to
-- Whether checked relations lead to the collection :collection.
EXISTS (
    SELECT FROM draftline.collection AS s
    CROSS JOIN jsonb_array_elements(s.relations) AS x
    WHERE s.tenant_id = :tenant_id AND s.relations <> '[]' AND x.value ->> 'collection' = :collection
      AND x.value ->> 'integrity' = 'CHECK'
)

-- name: is_referred_to
-- Return whether checked relations lead to a collection.
SELECT
-- include: references.is_referred_to
AS is_referred_to

-- name: count_dangling
-- Return for each checked relation of a collection whose entries are complete how many references have no live record, and
-- the first records that have some.
WITH
-- include: references.checked_relations
SELECT x.name, coalesce(d.count, 0) AS count, coalesce(d.record_ids, '{}') AS record_ids
FROM checked_relations AS x
JOIN draftline.collection_order AS o
    ON o.tenant_id = :tenant_id AND o.collection = :collection AND o.state = 'READY'
    AND o.keys = jsonb_build_array(jsonb_build_object('path', x.names, 'type', 'ID', 'descending', false))
LEFT JOIN LATERAL (
    SELECT sum(f.count) AS count,
        array_agg(f.record_id ORDER BY f.record_id) FILTER (WHERE f.rank <= CAST(:limit AS bigint)) AS record_ids
    FROM (
        SELECT e.record_id, count(*) AS count, row_number() OVER (ORDER BY e.record_id) AS rank
        FROM draftline.order_entry AS e
        WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.order_id = o.order_id
          AND NOT EXISTS (SELECT FROM draftline.record AS t
              WHERE t.tenant_id = :tenant_id AND t.collection = x.target AND t.deleted_at IS NULL
                AND t.record_id = convert_from(e.key, 'UTF8'))
        GROUP BY e.record_id
    ) AS f
) AS d ON true
WHERE x.collection = :collection
ORDER BY x.name

-- name: checking_collections
-- Return the collections of all tenants with checked relations, and the entries of these; for the check.
SELECT s.tenant_id, s.collection, s.upstream IS NOT NULL AS is_synced, r.value ->> 'name' AS name,
    r.value ->> 'collection' AS target, o.order_id
FROM draftline.collection AS s
CROSS JOIN jsonb_array_elements(s.relations) AS r
JOIN draftline.collection_order AS o
    ON o.tenant_id = s.tenant_id AND o.collection = s.collection AND o.state = 'READY'
    AND o.keys = jsonb_build_array(jsonb_build_object('path', r.value -> 'path', 'type', 'ID', 'descending', false))
WHERE s.relations <> '[]' AND r.value ->> 'integrity' = 'CHECK'
ORDER BY s.tenant_id, s.collection, r.value ->> 'name'

-- name: check_references
-- Return the next references of a relation, and whether each has no live record.
SELECT e.key, e.record_id, convert_from(e.key, 'UTF8') AS id, (
    SELECT true FROM draftline.record AS t
    WHERE t.tenant_id = :tenant_id AND t.collection = :target AND t.record_id = convert_from(e.key, 'UTF8')
      AND t.deleted_at IS NULL) IS NULL AS is_dangling
FROM draftline.order_entry AS e
WHERE e.tenant_id = :tenant_id AND e.collection = :collection AND e.order_id = :order_id
  AND (e.key, e.record_id) > (CAST(:key AS bytea), CAST(:record_id AS text))
ORDER BY e.key, e.record_id
LIMIT :limit
