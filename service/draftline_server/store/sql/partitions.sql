-- name: table_kinds
-- Return the tables of the service by name, with what the catalogue says they are: r is plain, p is partitioned.
SELECT c.relname AS name, CAST(c.relkind AS text) AS kind
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace('draftline') AND c.relname = ANY (CAST(:names AS text[])) AND c.relkind IN ('r', 'p')
ORDER BY c.relname

-- name: table
-- Return the properties of a table that a copy of it must have beside its columns and constraints. No row: no such table.
-- The options of a partitioned table are those of one of its partitions, because it has none itself.
SELECT CAST(c.relkind AS text) AS kind, pg_get_userbyid(c.relowner) AS owner, current_user AS user_name,
    coalesce(o.reloptions, '{}') AS options, coalesce(t.reloptions, '{}') AS toast_options,
    obj_description(c.oid, 'pg_class') AS comment, CAST(c.relpersistence AS text) AS persistence,
    (SELECT s.spcname FROM pg_tablespace AS s WHERE s.oid = c.reltablespace) AS tablespace,
    CAST(c.relreplident AS text) AS replica_identity,
    (SELECT i.relname FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
        WHERE x.indrelid = c.oid AND x.indisreplident) AS replica_index
FROM pg_class AS c
LEFT JOIN LATERAL (
    SELECT l.* FROM pg_partition_tree(c.oid) AS p JOIN pg_class AS l ON l.oid = p.relid
    WHERE p.isleaf ORDER BY l.relname LIMIT 1
) AS leaf ON c.relkind = 'p'
JOIN pg_class AS o ON o.oid = coalesce(leaf.oid, c.oid)
LEFT JOIN pg_class AS t ON t.oid = o.reltoastrelid
WHERE c.relnamespace = CAST('draftline' AS regnamespace) AND c.relname = CAST(:name AS text) AND c.relkind IN ('r', 'p')

-- name: columns
-- Return the columns of a table in their order, with the options and the statistics target that the planner's statistics use.
SELECT a.attname AS name, coalesce(a.attoptions, '{}') AS options, nullif(CAST(a.attstattarget AS int), -1) AS target,
    a.attidentity <> '' AS is_identity, a.attgenerated <> '' AS is_generated
FROM pg_attribute AS a
WHERE a.attrelid = CAST(format('draftline.%I', CAST(:name AS text)) AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: indexes
-- Return the valid indexes of a table, its primary key first. definition: what follows ON and the table, or the constraint.
-- Indexes that earlier versions built for declared orders are left out: the service drops them.
SELECT i.relname AS name, x.indisprimary AS is_primary, k.oid IS NOT NULL AS is_constraint, x.indisunique AS is_unique,
    obj_description(i.oid, 'pg_class') AS comment, CAST(coalesce(k.conname, '') AS text) AS constraint_name,
    (SELECT s.spcname FROM pg_tablespace AS s WHERE s.oid = i.reltablespace) AS tablespace,
    coalesce(pg_get_constraintdef(k.oid), substr(pg_get_indexdef(i.oid), 1 + length(format('CREATE %sINDEX %I ON %s%I.%I',
        CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, i.relname, CASE WHEN t.relkind = 'p' THEN 'ONLY ' ELSE '' END,
        'draftline', t.relname)))) AS definition,
    ARRAY(SELECT a.attname FROM unnest(x.indkey) WITH ORDINALITY AS n (number, place)
        JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = n.number
        WHERE n.place <= x.indnkeyatts ORDER BY n.place) AS columns,
    ARRAY(SELECT pg_get_indexdef(i.oid, n.place, true) FROM generate_series(1, x.indnkeyatts) AS n (place) ORDER BY n.place)
        AS keys
FROM pg_class AS t
JOIN pg_index AS x ON x.indrelid = t.oid
JOIN pg_class AS i ON i.oid = x.indexrelid
LEFT JOIN pg_constraint AS k ON k.conindid = i.oid AND k.contype IN ('p', 'u', 'x') AND k.conrelid = t.oid
WHERE t.oid = CAST(format('draftline.%I', CAST(:name AS text)) AS regclass) AND x.indisvalid AND x.indisready
  AND NOT (t.relname IN ('record', 'draft') AND i.relname ~ '^(record|draft)_order_')
ORDER BY x.indisprimary DESC, i.relname

-- name: grants
-- Return the privileges on a table and its columns that roles other than the owner have. An empty role is PUBLIC.
SELECT g.privilege_type AS privilege, g.column_name, g.is_grantable,
    CASE WHEN g.grantee = 0 THEN '' ELSE pg_get_userbyid(g.grantee) END AS role
FROM pg_class AS c
CROSS JOIN LATERAL (
    SELECT CAST('' AS text) AS column_name, x.* FROM aclexplode(c.relacl) AS x
    UNION ALL
    SELECT a.attname, x.* FROM pg_attribute AS a CROSS JOIN LATERAL aclexplode(a.attacl) AS x
    WHERE a.attrelid = c.oid AND NOT a.attisdropped
) AS g
WHERE c.oid = CAST(format('draftline.%I', CAST(:name AS text)) AS regclass) AND g.grantee <> c.relowner
ORDER BY role, g.column_name, g.privilege_type

-- name: default_roles
-- Return the roles to which PostgreSQL grants privileges on each table that this user creates. An empty role is PUBLIC.
SELECT DISTINCT CASE WHEN g.grantee = 0 THEN '' ELSE pg_get_userbyid(g.grantee) END AS role
FROM pg_default_acl AS d
JOIN pg_roles AS r ON r.oid = d.defaclrole AND r.rolname = current_user
CROSS JOIN LATERAL aclexplode(d.defaclacl) AS g
WHERE d.defaclobjtype = 'r' AND g.grantee <> d.defaclrole
  AND d.defaclnamespace IN (0, CAST('draftline' AS regnamespace))
ORDER BY role

-- name: triggers
-- Return the triggers of a table. definition: from AFTER, BEFORE or INSTEAD OF on, without ON and the table.
SELECT t.tgname AS name, pg_get_triggerdef(t.oid) AS definition
FROM pg_trigger AS t
WHERE t.tgrelid = CAST(format('draftline.%I', CAST(:name AS text)) AS regclass) AND NOT t.tgisinternal
ORDER BY t.tgname

-- name: partitions
-- Return the partitions of a table that hold rows, in the order of their names. tenants: the tenants of a list partition;
-- NULL: a part of the rest.
SELECT c.relname AS name, c.oid, pg_get_expr(c.relpartbound, c.oid) AS bound, p.level
FROM pg_partition_tree(CAST(format('draftline.%I', CAST(:name AS text)) AS regclass)) AS p
JOIN pg_class AS c ON c.oid = p.relid
WHERE p.isleaf AND p.level > 0
ORDER BY c.relname

-- name: shared_leaves
-- Return the hash partitions of a table, and which of them holds the rows of a tenant. condition: what is true of its rows.
-- has_constraint: it has a constraint of this name. rows: as PostgreSQL estimates them; NULL: it has no estimate.
SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound, pg_get_partition_constraintdef(c.oid) AS condition,
    satisfies_hash_partition(p.parentrelid, CAST(bound[1] AS int), CAST(bound[2] AS int), CAST(:tenant_id AS text))
        AS is_of_tenant,
    k.oid IS NOT NULL AS has_constraint, coalesce(k.convalidated, false) AS is_validated,
    CAST(nullif(c.reltuples, -1) AS bigint) AS rows
FROM pg_partition_tree(CAST(format('draftline.%I', CAST(:rest AS text)) AS regclass)) AS p
JOIN pg_class AS c ON c.oid = p.relid
CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'modulus ([0-9]+), remainder ([0-9]+)') AS bound
LEFT JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.conname = CAST(:constraint AS text)
WHERE p.isleaf
ORDER BY c.relname

-- name: promotion_constraints
-- Return the constraints by which promotions spare PostgreSQL reading partitions, with the table of each.
SELECT r.relname AS table, c.relname AS part, k.conname AS name
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
JOIN pg_class AS r ON r.oid = pg_partition_root(c.oid)
WHERE c.relnamespace = CAST('draftline' AS regnamespace) AND c.relispartition AND k.contype = 'c'
  AND (k.conname = CAST(:checked AS text) OR k.conname ~ '^not_tenant_[0-9a-f]{16}$')
ORDER BY r.relname, c.relname

-- name: tenant_tables
-- Return every table of the service that has rows of tenants, partitions apart, with the tables that hold its rows.
SELECT c.relname AS name,
    coalesce((SELECT array_agg(l.relname ORDER BY l.relname) FROM pg_partition_tree(c.oid) AS p
        JOIN pg_class AS l ON l.oid = p.relid WHERE p.isleaf), ARRAY[c.relname]) AS leaves
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relnamespace = CAST('draftline' AS regnamespace) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname
