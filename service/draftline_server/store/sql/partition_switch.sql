-- name: has_state
-- Return whether the schema has the table of the state; older ones do not.
SELECT to_regclass('draftline.partition_switch') IS NOT NULL AS has_state

-- name: state
-- Return the state of the switchover. No row: not begun.
SELECT s.phase, s.modulus, s.tenants, s.positions::text AS positions, s.copied::text AS copied, s.copied_xact,
    s.verified::text AS verified, s.verified_at, s.started_at, s.changed_at
FROM draftline.partition_switch AS s

-- name: put_state
-- Begin a switchover.
INSERT INTO draftline.partition_switch (phase, modulus, tenants, started_at, changed_at)
VALUES ('CREATED', CAST(:modulus AS int), CAST(:tenants AS text[]), clock_timestamp(), clock_timestamp())

-- name: put_position
-- Store how far the rows of a table are copied, and how many they are.
UPDATE draftline.partition_switch
SET positions = jsonb_set(positions, ARRAY[CAST(:name AS text)], CAST(:position AS jsonb)),
    copied = jsonb_set(copied, ARRAY[CAST(:name AS text)], to_jsonb(CAST(:copied AS bigint)))

-- name: put_verified
-- Store the result of a verification of the current phase. report: NULL if it failed.
UPDATE draftline.partition_switch
SET verified = CAST(:report AS jsonb),
    verified_at = CASE WHEN CAST(:report AS jsonb) IS NOT NULL THEN clock_timestamp() END
WHERE phase = CAST(:phase AS text)

-- name: append_log
-- Store a step of the switchover.
INSERT INTO draftline.partition_switch_log (logged_at, event, detail)
VALUES (clock_timestamp(), CAST(:event AS text), CAST(:detail AS jsonb))

-- name: read_log
-- Return the last steps, the newest first.
SELECT l.logged_at, l.event, l.detail::text AS detail
FROM draftline.partition_switch_log AS l
ORDER BY l.logged_at DESC
LIMIT :limit

-- name: set_session
-- Keep a killed command from holding its locks for long, and print times alike in every session.
SELECT set_config('client_connection_check_interval', '1s', false), set_config('timezone', 'UTC', false),
    set_config('search_path', 'pg_catalog, pg_temp', false), set_config('default_tablespace', '', false),
    set_config('application_name', 'draftline partitions', false)

-- name: lock_tool
-- One command at a time works on partitions, and no migration runs beside it.
SELECT pg_try_advisory_lock(CAST(:tool_lock AS bigint)) AS tool,
    pg_try_advisory_lock_shared(CAST(:migration_lock AS bigint)) AS migration

-- name: table_sizes
-- Return the estimated rows of tables, and the bytes, with their indexes and partitions. NULL: there is no estimate, because
-- the table, or a partition that is not empty, was never analyzed, as after a restore.
SELECT n.name, c.relkind = 'p' AS is_partitioned,
    CAST(CASE WHEN c.relkind <> 'p' THEN nullif(c.reltuples, -1)
              WHEN NOT bool_or(l.reltuples < 0 AND pg_relation_size(l.oid) > 0) THEN sum(greatest(l.reltuples, 0)) END
        AS bigint) AS rows,
    CAST(coalesce(sum(pg_total_relation_size(l.oid)), pg_total_relation_size(c.oid)) AS bigint) AS bytes
FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS n (name, rank)
JOIN pg_class AS c ON c.oid = to_regclass(format('draftline.%I', n.name))
LEFT JOIN LATERAL (SELECT p.relid FROM pg_partition_tree(c.oid) AS p WHERE p.isleaf) AS p ON c.relkind = 'p'
LEFT JOIN pg_class AS l ON l.oid = p.relid
GROUP BY n.name, n.rank, c.oid, c.relkind, c.reltuples
ORDER BY n.rank

-- name: biggest_tenants
-- Return the tenants with the most records at their last count, and the records of all tenants.
SELECT u.tenant_id, u.records, u.bytes, CAST(sum(u.records) OVER () AS bigint) AS total
FROM draftline.tenant_usage AS u
ORDER BY u.records DESC, u.tenant_id
LIMIT :limit

-- name: column_types
-- Return the columns of a table in order, with their types.
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS is_required
FROM pg_attribute AS a
WHERE a.attrelid = CAST(format('draftline.%I', CAST(:name AS text)) AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: constraints
-- Return the columns and the checks of a table, as text.
SELECT format('column %s %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), ''))
    AS text
FROM pg_attribute AS a
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = CAST(format('draftline.%I', CAST(:name AS text)) AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT format('constraint %s %s', k.conname, pg_get_constraintdef(k.oid))
FROM pg_constraint AS k
WHERE k.conrelid = CAST(format('draftline.%I', CAST(:name AS text)) AS regclass) AND k.contype = 'c'
UNION ALL
SELECT format('comment on column %s: %s', a.attname, col_description(a.attrelid, a.attnum))
FROM pg_attribute AS a
WHERE a.attrelid = CAST(format('draftline.%I', CAST(:name AS text)) AS regclass) AND a.attnum > 0 AND NOT a.attisdropped
  AND col_description(a.attrelid, a.attnum) IS NOT NULL
ORDER BY text

-- name: obstacles
-- Return what refers to tables by their identity, and so would not follow a switch of their names. own: the triggers of the
-- switchover.
WITH tables AS (
    SELECT c.oid, c.relname, c.reltype
    FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace('draftline') AND c.relname = ANY (CAST(:names AS text[])) AND c.relkind IN ('r', 'p')
)
SELECT 'publication' AS kind, p.pubname::text AS name, t.relname::text AS on_table
FROM tables AS t JOIN pg_publication_rel AS r ON r.prrelid = t.oid JOIN pg_publication AS p ON p.oid = r.prpubid
UNION ALL
SELECT 'publication', p.pubname, 'all tables'
FROM pg_publication AS p
WHERE p.puballtables OR EXISTS (SELECT FROM pg_publication_namespace AS n
    WHERE n.pnpubid = p.oid AND n.pnnspid = to_regnamespace('draftline'))
UNION ALL
SELECT 'subscription', s.subname, t.relname
FROM tables AS t JOIN pg_subscription_rel AS r ON r.srrelid = t.oid JOIN pg_subscription AS s ON s.oid = r.srsubid
UNION ALL
SELECT 'foreign key', format('%s of %s', k.conname, k.conrelid::regclass), t.relname
FROM tables AS t JOIN pg_constraint AS k ON k.contype = 'f' AND t.oid IN (k.confrelid, k.conrelid) AND k.conparentid = 0
UNION ALL
SELECT DISTINCT CASE v.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'rule' END,
    CASE WHEN v.relkind IN ('v', 'm') THEN CAST(CAST(v.oid AS regclass) AS text) ELSE w.rulename END, t.relname
FROM tables AS t
JOIN pg_depend AS d ON d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid = t.oid
    AND d.classid = CAST('pg_rewrite' AS regclass)
JOIN pg_rewrite AS w ON w.oid = d.objid
JOIN pg_class AS v ON v.oid = w.ev_class
UNION ALL
SELECT 'policy', y.polname, t.relname FROM tables AS t JOIN pg_policy AS y ON y.polrelid = t.oid
UNION ALL
SELECT 'trigger', g.tgname, t.relname
FROM tables AS t JOIN pg_trigger AS g ON g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgparentid = 0
WHERE g.tgname <> ALL (CAST(:own AS text[]))
UNION ALL
SELECT DISTINCT 'function', CAST(CAST(f.oid AS regprocedure) AS text), t.relname
FROM tables AS t
JOIN pg_type AS y ON y.typrelid = t.oid
JOIN pg_depend AS d ON d.classid = CAST('pg_proc' AS regclass)
    AND (d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid = t.oid
        OR d.refclassid = CAST('pg_type' AS regclass) AND d.refobjid IN (y.oid, y.typarray))
JOIN pg_proc AS f ON f.oid = d.objid
UNION ALL
SELECT 'extended statistics', x.stxname, t.relname FROM tables AS t JOIN pg_statistic_ext AS x ON x.stxrelid = t.oid
UNION ALL
SELECT 'index of an earlier version', i.relname, t.relname
FROM tables AS t JOIN pg_index AS x ON x.indrelid = t.oid JOIN pg_class AS i ON i.oid = x.indexrelid
WHERE i.relname ~ '^(record|draft)_order_[0-9a-f]{32}$'
UNION ALL
SELECT 'row security', 'enabled', t.relname
FROM tables AS t JOIN pg_class AS c ON c.oid = t.oid AND (c.relrowsecurity OR c.relforcerowsecurity)
UNION ALL
SELECT CASE WHEN k.contype = 'x' THEN 'exclusion constraint' WHEN k.condeferrable THEN 'deferrable constraint'
    WHEN NOT k.convalidated THEN 'constraint that is not validated' ELSE 'constraint without inheritance' END,
    k.conname, t.relname
FROM tables AS t JOIN pg_constraint AS k ON k.conrelid = t.oid AND k.contype IN ('c', 'n', 'p', 'u', 'x')
WHERE k.contype = 'x' OR k.condeferrable OR NOT k.convalidated OR (k.connoinherit AND k.contype IN ('c', 'n'))
UNION ALL
SELECT DISTINCT 'object', pg_describe_object(d.classid, d.objid, 0), t.relname
FROM tables AS t
JOIN pg_type AS y ON y.typrelid = t.oid
JOIN pg_depend AS d ON d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid = t.oid
    OR d.refclassid = CAST('pg_type' AS regclass) AND d.refobjid IN (y.oid, y.typarray)
LEFT JOIN pg_class AS c ON d.classid = CAST('pg_class' AS regclass) AND c.oid = d.objid
WHERE d.deptype IN ('n', 'a', 'x')
  AND d.classid <> ALL (ARRAY['pg_rewrite', 'pg_policy', 'pg_trigger', 'pg_proc', 'pg_statistic_ext', 'pg_constraint',
      'pg_attrdef', 'pg_publication_rel', 'pg_subscription_rel']::regclass[])
  AND (c.oid IS NULL OR NOT c.relispartition AND c.relkind NOT IN ('i', 'I', 't')
      AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid))
UNION ALL
SELECT 'child table', CAST(CAST(i.inhrelid AS regclass) AS text), t.relname
FROM tables AS t
JOIN pg_inherits AS i ON i.inhparent = t.oid
JOIN pg_class AS c ON c.oid = i.inhrelid AND NOT c.relispartition
ORDER BY 1, 2, 3

-- name: own_properties
-- Return the indexes, constraints and tablespaces that partitions have and their tables do not.
WITH parts AS (
    SELECT c.oid, c.relname, c.reltablespace FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace('draftline') AND c.relname = ANY (CAST(:names AS text[]))
)
SELECT 'index of the partition' AS kind, i.relname::text AS name, p.relname::text AS on_table
FROM parts AS p JOIN pg_index AS x ON x.indrelid = p.oid JOIN pg_class AS i ON i.oid = x.indexrelid
WHERE NOT i.relispartition
UNION ALL
SELECT 'constraint of the partition', k.conname, p.relname
FROM parts AS p JOIN pg_constraint AS k ON k.conrelid = p.oid
WHERE k.contype IN ('c', 'n') AND k.coninhcount = 0 AND k.conname !~ '^not_tenant_[0-9a-f]{16}$'
UNION ALL
SELECT 'tablespace of the partition', coalesce(s.spcname, 'pg_default'), p.relname
FROM parts AS p JOIN pg_inherits AS i ON i.inhrelid = p.oid JOIN pg_class AS t ON t.oid = i.inhparent
LEFT JOIN pg_tablespace AS s ON s.oid = p.reltablespace
WHERE p.reltablespace <> t.reltablespace
ORDER BY 1, 2, 3

-- name: not_owned
-- Return the owners of tables that the user does not own, also not as a member of their role.
SELECT c.relname AS name, pg_get_userbyid(c.relowner) AS owner
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace('draftline') AND c.relname = ANY (CAST(:names AS text[]))
  AND NOT pg_has_role(c.relowner, 'USAGE')
ORDER BY c.relname

-- name: existing
-- Return which of these names of tables exist.
SELECT c.relname AS name
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace('draftline') AND c.relname = ANY (CAST(:names AS text[]))
ORDER BY c.relname

-- name: with_comment
-- Return the tables with a comment.
SELECT c.relname AS name
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace('draftline') AND c.relkind IN ('r', 'p')
  AND obj_description(c.oid, 'pg_class') = CAST(:comment AS text)
ORDER BY c.relname

-- name: old_services
-- Return the services that run and do not know partitions. revision: the schema that they need; NULL: they do not say.
SELECT service.pid, lpad(CAST(revision.objid AS text), 4, '0') AS revision, a.application_name AS application,
    CAST(a.client_addr AS text) AS address
FROM pg_locks AS service
LEFT JOIN pg_locks AS revision
  ON revision.pid = service.pid AND revision.locktype = 'advisory' AND revision.granted AND revision.objsubid = 2
  AND CAST(revision.classid AS bigint) = CAST(:family AS bigint)
LEFT JOIN pg_stat_activity AS a ON a.pid = service.pid
WHERE service.locktype = 'advisory' AND service.granted AND service.objsubid = 1
  AND service.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (CAST(service.classid AS bigint) << 32) + CAST(service.objid AS bigint) = CAST(:key AS bigint)
  AND (revision.objid IS NULL OR lpad(CAST(revision.objid AS text), 4, '0') < CAST(:oldest AS text))
ORDER BY service.pid

-- name: holders
-- Return the sessions that hold locks on tables or their partitions, the one with the oldest transaction first. writes: of those only the ones
-- whose lock excludes SHARE ROW EXCLUSIVE.
SELECT a.pid, a.backend_type, coalesce(a.application_name, '') AS application, coalesce(a.state, '') AS state,
    left(regexp_replace(coalesce(a.query, ''), '\s+', ' ', 'g'), 60) AS query,
    coalesce(CAST(extract(epoch FROM clock_timestamp() - a.xact_start) AS float8), 0) AS open_s,
    string_agg(DISTINCT CAST(CAST(l.relation AS regclass) AS text), ', ') AS tables
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.granted AND l.locktype = 'relation' AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.relation = ANY (ARRAY(
      SELECT t.relation FROM unnest(CAST(:names AS text[])) AS n (name)
      CROSS JOIN LATERAL (
          SELECT to_regclass(format('draftline.%I', n.name)) AS relation
          UNION ALL
          SELECT p.relid FROM pg_partition_tree(to_regclass(format('draftline.%I', n.name))) AS p
      ) AS t))
  AND (NOT CAST(:writes AS boolean) OR l.mode NOT IN ('AccessShareLock', 'RowShareLock'))
GROUP BY a.pid, a.backend_type, a.application_name, a.state, a.query, a.xact_start
ORDER BY a.xact_start NULLS FIRST
LIMIT 3

-- name: cancel
-- Ask autovacuum to leave a table; it comes back later.
SELECT pg_cancel_backend(:pid)

-- name: old_snapshots
-- Return the sessions that may still read the database as it was before the copy was complete.
SELECT a.pid, coalesce(a.application_name, '') AS application, coalesce(a.state, '') AS state,
    CAST(extract(epoch FROM clock_timestamp() - a.xact_start) AS float8) AS open_s
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_xmin IS NOT NULL
  AND a.backend_type <> 'autovacuum worker'
  AND age(a.backend_xmin) > age(CAST(CAST(CAST(:copied_xact AS bigint) % 4294967296 AS text) AS xid))
ORDER BY a.xact_start
LIMIT 3

-- name: trigger_states
-- Return the triggers of tables, with whether they fire always.
SELECT c.relname AS name, g.tgname AS trigger, g.tgenabled = 'A' AS is_on
FROM pg_trigger AS g
JOIN pg_class AS c ON c.oid = g.tgrelid
WHERE c.relnamespace = to_regnamespace('draftline') AND c.relname = ANY (CAST(:names AS text[])) AND NOT g.tgisinternal
  AND g.tgparentid = 0
ORDER BY c.relname, g.tgname

-- name: current_xact
-- Return the number of the transaction.
SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS xact

-- name: blocks
-- Return how many pages a table has.
SELECT CAST(pg_relation_size(CAST(format('draftline.%I', CAST(:name AS text)) AS regclass))
    / CAST(current_setting('block_size') AS int) AS bigint) AS blocks,
    pg_relation_filenode(CAST(format('draftline.%I', CAST(:name AS text)) AS regclass)) AS filenode
