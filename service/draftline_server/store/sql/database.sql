-- name: revision
-- Return the schema's revision in alembic, and the comment that names the oldest service that can use it; no row before
-- the first migration.
SELECT version_num AS revision, obj_description(tableoid, 'pg_class') AS comment FROM draftline.alembic_version

-- name: secret
-- Return a secret that the servers of this database share.
SELECT value FROM draftline.secret WHERE name = :name

-- name: usable_connections
-- Return how many connections the server allows to users that are not superusers.
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0) AS usable

-- name: missing_tables
-- Return those of the tables with these names that do not exist.
SELECT name
FROM unnest(CAST(:names AS text[])) AS wanted(name)
WHERE to_regclass('draftline.' || quote_ident(name)) IS NULL
ORDER BY name

-- name: missing_privileges
-- Return the tables, sequences and functions of the service that the user may not use in full, tables first.
(SELECT relname::text AS name
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
(SELECT DISTINCT concat(proname, '()')
FROM pg_proc
WHERE pronamespace = CAST('draftline' AS regnamespace) AND NOT has_function_privilege(oid, 'EXECUTE')
ORDER BY 1)
