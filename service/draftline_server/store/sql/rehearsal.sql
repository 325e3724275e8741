-- name: relations
-- Return the tables and partitioned tables of the schema; `is_partition`: of another table; `rows`: as of the last ANALYZE.
SELECT c.oid, c.relname::text AS name, c.relkind = 'p' AS is_partitioned, c.relispartition AS is_partition,
    greatest(c.reltuples, 0)::bigint AS rows, pg_has_role(c.relowner, 'USAGE') AS is_owned
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace('draftline') AND c.relkind IN ('r', 'p')
ORDER BY c.relname

-- name: columns
-- Return the columns of each table in order, without generated ones, and its primary key's.
SELECT c.relname::text AS name,
    array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attgenerated = '') AS columns,
    coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attnum = ANY (x.indkey)), '{}') AS key,
    coalesce(jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)), '{}')::text AS types
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_index AS x ON x.indrelid = c.oid AND x.indisprimary
WHERE c.relnamespace = to_regnamespace('draftline') AND c.relkind IN ('r', 'p')
GROUP BY c.oid, c.relname
ORDER BY c.relname

-- name: objects
-- Return the objects of the schema with their definitions, for digests and comparisons. Owners, privileges, comments,
-- storage parameters and what the service replaces while it runs are left out: the weekly partitions of the log, the
-- indexes of declared orders, and the functions that follow a restore. `is_partition`: part of a partitioned table.
WITH relation AS (
    SELECT c.*, format('%I', c.relname) AS named
    FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace('draftline') AND c.relname !~ '^change_[0-9]'
      AND c.relname !~ '^(record|draft)_order_' AND c.relkind <> 't'
)
SELECT 'table ' || r.named AS name,
    concat_ws(' ', r.relkind, r.relpersistence, r.relrowsecurity, pg_get_partkeydef(r.oid),
        pg_get_expr(r.relpartbound, r.oid)) AS definition, r.relispartition AS is_partition
FROM relation AS r WHERE r.relkind IN ('r', 'p', 'f')
UNION ALL
SELECT format('column %s.%I', r.named, a.attname),
    concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation::regcollation, a.attidentity,
        a.attgenerated, pg_get_expr(d.adbin, d.adrelid)), r.relispartition
FROM relation AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
WHERE r.relkind IN ('r', 'p', 'f', 'c')
UNION ALL
SELECT format('constraint %s.%I', r.named, k.conname), concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated),
    r.relispartition
FROM relation AS r
JOIN pg_constraint AS k ON k.conrelid = r.oid
WHERE k.contype NOT IN ('n', 't')
UNION ALL
SELECT 'index ' || r.named, concat_ws(' ', pg_get_indexdef(r.oid), x.indisvalid, x.indisready), r.relispartition
FROM relation AS r
JOIN pg_index AS x ON x.indexrelid = r.oid
JOIN pg_class AS t ON t.oid = x.indrelid
WHERE t.relname !~ '^change_[0-9]'
UNION ALL
SELECT format('trigger %s.%I', r.named, t.tgname), concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled),
    r.relispartition
FROM relation AS r
JOIN pg_trigger AS t ON t.tgrelid = r.oid
WHERE NOT t.tgisinternal
UNION ALL
SELECT 'sequence ' || r.named,
    concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle), false
FROM relation AS r
JOIN pg_sequence AS s ON s.seqrelid = r.oid
UNION ALL
SELECT CASE r.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || r.named, pg_get_viewdef(r.oid), false
FROM relation AS r WHERE r.relkind IN ('v', 'm')
UNION ALL
SELECT format('rule %s.%I', r.named, w.rulename), pg_get_ruledef(w.oid), false
FROM relation AS r
JOIN pg_rewrite AS w ON w.ev_class = r.oid
WHERE w.rulename <> '_RETURN'
UNION ALL
SELECT format('policy %s.%I', r.named, p.polname),
    concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, r.oid), pg_get_expr(p.polwithcheck, r.oid)), false
FROM relation AS r
JOIN pg_policy AS p ON p.polrelid = r.oid
UNION ALL
SELECT format('statistics %I', s.stxname), pg_get_statisticsobjdef(s.oid), false
FROM pg_statistic_ext AS s WHERE s.stxnamespace = to_regnamespace('draftline')
UNION ALL
SELECT format('function %I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)),
    CASE WHEN p.prokind = 'a' THEN 'an aggregate' ELSE pg_get_functiondef(p.oid) END, false
FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace('draftline') AND p.proname NOT IN ('log_xact', 'log_horizon')
UNION ALL
SELECT format('type %I', t.typname), concat_ws(' ', t.typtype, t.typnotnull, format_type(t.typbasetype, t.typtypmod),
    (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid)), false
FROM pg_type AS t
LEFT JOIN pg_class AS c ON c.oid = t.typrelid
WHERE t.typnamespace = to_regnamespace('draftline') AND t.typelem = 0 AND (t.typrelid = 0 OR c.relkind = 'c')
ORDER BY 1, 2

-- name: definitions
-- Return the statements that create the objects of the schema without their rows; `after_rows`: to be run once the rows
-- are copied. Within a phase, a statement may depend on one that comes later: run those that fail again after the others.
WITH relation AS (
    SELECT c.*, format('draftline.%I', c.relname) AS named
    FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace('draftline')
)
SELECT 0 AS phase, false AS after_rows, format('CREATE TYPE %s AS (%s)', r.named, string_agg(
    format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)) AS statement
FROM relation AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE r.relkind = 'c'
GROUP BY r.oid, r.named
UNION ALL
SELECT 0, false, format('CREATE TYPE draftline.%I AS ENUM (%s)', t.typname,
    string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder))
FROM pg_type AS t
JOIN pg_enum AS e ON e.enumtypid = t.oid
WHERE t.typnamespace = to_regnamespace('draftline')
GROUP BY t.oid, t.typname
UNION ALL
SELECT 0, false, format('CREATE SEQUENCE %s AS %s START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s%s', r.named,
    s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
    CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END)
FROM relation AS r
JOIN pg_sequence AS s ON s.seqrelid = r.oid
WHERE NOT EXISTS (SELECT FROM pg_depend AS d
    WHERE d.classid = CAST('pg_class' AS regclass) AND d.objid = r.oid AND d.deptype = 'i')
UNION ALL
SELECT 0, false, pg_get_functiondef(p.oid)
FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace('draftline') AND p.prokind <> 'a'
UNION ALL
SELECT 0, false, format('CREATE %sTABLE %s (%s)%s%s', CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END,
    r.named,
    (SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END,
            CASE WHEN a.attcompression = 'p' THEN 'COMPRESSION pglz' WHEN a.attcompression = 'l' THEN 'COMPRESSION lz4' END,
            CASE WHEN a.attidentity <> '' THEN format('GENERATED %s AS IDENTITY (SEQUENCE NAME %s START %s INCREMENT %s
                    MINVALUE %s MAXVALUE %s CACHE %s %s)', CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,
                    i.seqrelid::regclass, i.seqstart, i.seqincrement, i.seqmin, i.seqmax, i.seqcache,
                    CASE WHEN i.seqcycle THEN 'CYCLE' ELSE '' END)
                WHEN a.attgenerated = 's' THEN format('GENERATED ALWAYS AS (%s) STORED', pg_get_expr(d.adbin, d.adrelid))
                WHEN a.attgenerated = 'v' THEN format('GENERATED ALWAYS AS (%s) VIRTUAL', pg_get_expr(d.adbin, d.adrelid))
                WHEN d.adbin IS NOT NULL THEN 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END,
            CASE WHEN a.attnotnull THEN 'NOT NULL' END), ', ' ORDER BY a.attnum)
        FROM pg_attribute AS a
        JOIN pg_type AS t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        LEFT JOIN pg_sequence AS i ON a.attidentity <> '' AND i.seqrelid = (SELECT p.objid FROM pg_depend AS p
            WHERE p.classid = CAST('pg_class' AS regclass) AND p.refobjid = a.attrelid
              AND p.refclassid = CAST('pg_class' AS regclass) AND p.refobjsubid = a.attnum AND p.deptype = 'i')
        WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped),
    ' PARTITION BY ' || pg_get_partkeydef(r.oid),
    (SELECT format(' WITH (%s)', string_agg(format('%I = %L', o.option_name, o.option_value), ', '))
        FROM pg_options_to_table(r.reloptions) AS o HAVING count(*) > 0))
FROM relation AS r WHERE r.relkind IN ('r', 'p')
UNION ALL
SELECT 1, false, format('ALTER TABLE ONLY %s ADD CONSTRAINT %I %s', r.named, k.conname, pg_get_constraintdef(k.oid))
FROM relation AS r
JOIN pg_constraint AS k ON k.conrelid = r.oid
WHERE k.contype = 'c'
UNION ALL
SELECT 2, false, format('ALTER TABLE ONLY %s ATTACH PARTITION %s %s', i.inhparent::regclass, r.named,
    pg_get_expr(r.relpartbound, r.oid))
FROM relation AS r
JOIN pg_inherits AS i ON i.inhrelid = r.oid
WHERE r.relispartition AND r.relkind IN ('r', 'p')
UNION ALL
SELECT 2, false, format('ALTER TABLE ONLY %s ALTER COLUMN %I SET (%s)', r.named, a.attname,
    (SELECT string_agg(format('%I = %L', o.option_name, o.option_value), ', ')
        FROM pg_options_to_table(a.attoptions) AS o))
FROM relation AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attoptions IS NOT NULL
WHERE r.relkind IN ('r', 'p')
UNION ALL
SELECT 2, false, format('ALTER TABLE ONLY %s ALTER COLUMN %I SET STORAGE %s', r.named, a.attname,
    CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
FROM relation AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid AND t.typstorage <> a.attstorage
WHERE r.relkind IN ('r', 'p')
UNION ALL
SELECT 3, true, CASE WHEN k.oid IS NULL THEN pg_get_indexdef(r.oid)
    ELSE format('ALTER TABLE ONLY draftline.%I ADD CONSTRAINT %I %s', t.relname, k.conname, pg_get_constraintdef(k.oid))
    END
FROM relation AS r
JOIN pg_index AS x ON x.indexrelid = r.oid AND (x.indisvalid OR r.relkind = 'I')
JOIN pg_class AS t ON t.oid = x.indrelid
LEFT JOIN pg_constraint AS k ON k.conindid = r.oid AND k.conrelid = t.oid AND k.contype IN ('p', 'u', 'x')
UNION ALL
SELECT 4, true, format('ALTER INDEX draftline.%I SET (%s)', r.relname,
    (SELECT string_agg(format('%I = %L', o.option_name, o.option_value), ', ')
        FROM pg_options_to_table(r.reloptions) AS o))
FROM relation AS r
WHERE r.relkind = 'i' AND r.reloptions IS NOT NULL
UNION ALL
SELECT 4, true, format('ALTER INDEX %s ATTACH PARTITION %s', i.inhparent::regclass, r.named)
FROM relation AS r
JOIN pg_inherits AS i ON i.inhrelid = r.oid
WHERE r.relispartition AND r.relkind IN ('i', 'I')
UNION ALL
SELECT 5, true, format('ALTER TABLE %s ADD CONSTRAINT %I %s', r.named, k.conname, pg_get_constraintdef(k.oid))
FROM relation AS r
JOIN pg_constraint AS k ON k.conrelid = r.oid
WHERE k.contype = 'f' AND k.conparentid = 0
UNION ALL
SELECT 5, true, pg_get_triggerdef(t.oid)
FROM relation AS r
JOIN pg_trigger AS t ON t.tgrelid = r.oid
WHERE NOT t.tgisinternal AND t.tgparentid = 0
UNION ALL
SELECT 6, true, format('ALTER TABLE %s %s TRIGGER %I', r.named, CASE t.tgenabled WHEN 'D' THEN 'DISABLE'
    WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, t.tgname)
FROM relation AS r
JOIN pg_trigger AS t ON t.tgrelid = r.oid
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled <> 'O'
UNION ALL
SELECT 5, true, pg_get_statisticsobjdef(s.oid)
FROM pg_statistic_ext AS s WHERE s.stxnamespace = to_regnamespace('draftline')
UNION ALL
SELECT 5, true, format('CREATE VIEW %s AS %s', r.named, pg_get_viewdef(r.oid))
FROM relation AS r WHERE r.relkind = 'v'
UNION ALL
SELECT 5, true, format('ALTER SEQUENCE %s OWNED BY draftline.%I.%I', r.named, t.relname, a.attname)
FROM relation AS r
JOIN pg_depend AS d ON d.classid = CAST('pg_class' AS regclass) AND d.objid = r.oid AND d.deptype = 'a'
    AND d.refclassid = CAST('pg_class' AS regclass) AND d.refobjsubid > 0
JOIN pg_class AS t ON t.oid = d.refobjid
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE r.relkind = 'S'
UNION ALL
SELECT 6, true, CASE WHEN d.objsubid = 0 THEN format('COMMENT ON TABLE %s IS %L', r.named, d.description)
    ELSE format('COMMENT ON COLUMN %s.%I IS %L', r.named, a.attname, d.description) END
FROM relation AS r
JOIN pg_description AS d ON d.classoid = CAST('pg_class' AS regclass) AND d.objoid = r.oid
LEFT JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE r.relkind IN ('r', 'p')
ORDER BY 1, 3

-- name: sequences
-- Return the sequences of the schema.
SELECT format('draftline.%I', c.relname) AS name FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace('draftline') AND c.relkind = 'S'
ORDER BY c.relname

-- name: database_size
-- Return the size of the database. This waits for no lock of a table.
SELECT pg_database_size(current_database()) AS bytes

-- name: tables_size
-- Return the size of the schema's tables with their indexes.
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS bytes
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace('draftline') AND c.relkind IN ('r', 'm')

-- name: locks
-- Return the locks that other sessions of this role hold on these tables of the database, by transaction. statement: the
-- one that runs, or the last one if the session does something else.
SELECT l.relation AS oid, l.mode AS mode, l.virtualtransaction AS transaction,
    min(left(regexp_replace(a.query, '\s+', ' ', 'g'), 200)) AS statement
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.granted AND l.locktype = 'relation' AND l.relation = ANY (CAST(:tables AS oid[]))
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.pid <> pg_backend_pid() AND a.usename = current_user AND a.backend_type = 'client backend'
  AND l.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
      'AccessExclusiveLock')
GROUP BY l.relation, l.mode, l.virtualtransaction

-- name: wal_position
-- Return how many bytes of WAL the server has written since it was created.
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS bytes

-- name: files
-- Return the file of each table, which another one replaces when the table is rewritten, and how many rows were changed.
SELECT c.relname::text AS name, c.relfilenode AS file,
    coalesce(pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid), 0) AS changed
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace('draftline') AND c.relkind = 'r'
ORDER BY c.relname

-- name: identity
-- Return what identifies the database: its name, its object id and its server's identifier.
SELECT current_database()::text AS database, d.oid::bigint AS oid, s.system_identifier::text AS system,
    current_setting('server_version') AS server, pg_encoding_to_char(d.encoding) AS encoding
FROM pg_database AS d, pg_control_system() AS s
WHERE d.datname = current_database()

-- name: copies
-- Return the databases that rehearsals of a database created, with their comments.
SELECT d.datname::text AS name, coalesce(shobj_description(d.oid, 'pg_database'), '') AS comment
FROM pg_database AS d
WHERE d.datname ~ CAST(:pattern AS text)
ORDER BY d.datname

-- name: schema_comment
-- Return whether the database has the schema, and its comment.
SELECT to_regnamespace('draftline') IS NOT NULL AS is_there,
    coalesce(obj_description(to_regnamespace('draftline'), 'pg_namespace'), '') AS comment

-- name: revision
-- Return the revision of the schema.
SELECT version_num AS revision FROM draftline.alembic_version

-- name: lock
-- Lock out another rehearsal of the same database. Return whether there is none.
SELECT pg_try_advisory_lock(CAST(:rehearsal_lock AS bigint)) AS taken

-- name: end_sessions
-- End the other sessions of this role in the database.
SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
