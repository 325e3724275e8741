-- name: revision
-- Return the schema's revision in alembic, and the comment that names the oldest service that can use it; no row before
-- the first migration.
SELECT version_num AS revision, obj_description(tableoid, 'pg_class') AS comment FROM draftline.alembic_version

-- name: server_facts
-- Return the version and the encoding of the database.
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_text,
    current_setting('server_encoding') AS encoding

-- name: remains
-- Return how many of the tables with these names exist, and the comment on the table of revisions.
SELECT count(*) FILTER (WHERE relname <> 'alembic_version') AS tables,
    max(obj_description(c.oid, 'pg_class')) FILTER (WHERE relname = 'alembic_version') AS comment
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE nspname = 'draftline' AND relkind IN ('r', 'p')
  AND (relname = ANY(CAST(:names AS text[])) OR relname = 'alembic_version')

-- name: secret
-- Return a secret that the servers of this database share.
SELECT value FROM draftline.secret WHERE name = :name

-- name: usable_connections
-- Return how many connections the user may open: the least of what the server allows to users that are not superusers,
-- and the CONNECTION LIMIT of the role and of the database, which superusers do not have.
SELECT least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT least(nullif(rolconnlimit, -1), nullif(datconnlimit, -1)) FROM pg_roles, pg_database
     WHERE rolname = session_user AND NOT rolsuper AND datname = current_database())
) AS usable

-- name: missing_relations
-- Return those of the tables, sequences or indexes with these names that do not exist.
SELECT name
FROM unnest(CAST(:names AS text[])) AS wanted(name)
WHERE to_regclass('draftline.' || quote_ident(name)) IS NULL
ORDER BY name

-- name: missing_types
-- Return those of the types with these names that do not exist.
SELECT name
FROM unnest(CAST(:names AS text[])) AS wanted(name)
WHERE to_regtype('draftline.' || quote_ident(name)) IS NULL
ORDER BY name

-- name: missing_columns
-- Return those of the columns, named `table.column`, that do not exist.
SELECT name
FROM unnest(CAST(:names AS text[])) AS wanted(name)
WHERE NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('draftline.' || quote_ident(split_part(name, '.', 1)))
      AND attname = split_part(name, '.', 2) AND attnum > 0 AND NOT attisdropped)
ORDER BY name

-- name: missing_functions
-- Return the functions that do not exist: of those with these names, and of those that the schema's functions call.
WITH existing AS (
    SELECT proname::text AS name, prosrc FROM pg_proc WHERE pronamespace = CAST('draftline' AS regnamespace)
), wanted AS (
    SELECT unnest(CAST(:names AS text[])) AS name
    UNION
    SELECT called[1] FROM existing, regexp_matches(prosrc, 'draftline\.(\w+)\(', 'g') AS called
)
SELECT concat(name, '()') AS name
FROM wanted
WHERE name NOT IN (SELECT name FROM existing) AND to_regclass('draftline.' || quote_ident(name)) IS NULL
ORDER BY name

-- name: missing_privileges
-- Return the tables, sequences and functions of the service that the user may not use in full, and with each what it
-- may not do. Imports and builds of entries create temporary tables.
(SELECT relname::text AS name, 'read and write' AS action
FROM pg_class
WHERE relnamespace = CAST('draftline' AS regnamespace) AND relname <> 'alembic_version'
  AND CASE relkind
    WHEN 'S' THEN NOT has_sequence_privilege(oid, 'USAGE')
    ELSE relkind IN ('r', 'p') AND NOT relispartition AND NOT (
        has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
  END
ORDER BY relname)
UNION ALL
(SELECT DISTINCT concat(proname, '()'), 'execute'
FROM pg_proc
WHERE pronamespace = CAST('draftline' AS regnamespace) AND NOT has_function_privilege(oid, 'EXECUTE')
ORDER BY 1)
UNION ALL
SELECT 'temporary tables', 'create'
WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
